"""The phases of a learner as a table: what is not in it is an error."""

from enum import Enum


class Phase(Enum):
    """Phase of the learner."""

    WAITING = "waiting"  # no policy published yet
    COLLECTING = "collecting"  # actors run under the current version
    STOPPING = "stopping"  # the batch is full, STOP is out, answers are awaited
    UPDATING = "updating"  # the batch is being trained on
    DRAINING = "draining"  # the run is over, actors say BYE
    LEAVING = "leaving"  # this learner ends and the run does not: actors stop, and wait for the next learner
    STOPPED = "stopped"


class Event(Enum):
    """Event that changes the phase."""

    PUBLISHED = "published"
    SPACES_CHANGED = "spaces changed"
    BATCH_FULL = "batch full"
    ALL_STOPPED = "all stopped"
    FINISH = "finish"
    LEAVE = "leave"
    DRAINED = "drained"


TABLE: dict[tuple[Phase, Event], Phase] = {
    (Phase.WAITING, Event.PUBLISHED): Phase.COLLECTING,
    (Phase.WAITING, Event.SPACES_CHANGED): Phase.WAITING,
    (Phase.COLLECTING, Event.SPACES_CHANGED): Phase.WAITING,
    (Phase.STOPPING, Event.SPACES_CHANGED): Phase.WAITING,
    (Phase.COLLECTING, Event.BATCH_FULL): Phase.STOPPING,
    (Phase.STOPPING, Event.ALL_STOPPED): Phase.UPDATING,
    (Phase.UPDATING, Event.PUBLISHED): Phase.COLLECTING,
    (Phase.WAITING, Event.FINISH): Phase.DRAINING,
    (Phase.COLLECTING, Event.FINISH): Phase.DRAINING,
    (Phase.STOPPING, Event.FINISH): Phase.DRAINING,
    (Phase.UPDATING, Event.FINISH): Phase.DRAINING,
    (Phase.WAITING, Event.LEAVE): Phase.LEAVING,
    (Phase.COLLECTING, Event.LEAVE): Phase.LEAVING,
    (Phase.STOPPING, Event.LEAVE): Phase.LEAVING,
    (Phase.UPDATING, Event.LEAVE): Phase.LEAVING,
    (Phase.DRAINING, Event.DRAINED): Phase.STOPPED,
    (Phase.LEAVING, Event.DRAINED): Phase.STOPPED,
}
