"""The states of an actor as a table: a transition that is not in it is an error."""

from enum import Enum


class State(Enum):
    """State of an actor."""

    JOINING = "joining"  # HELLO is out
    WAITING = "waiting"  # welcomed, or stopped: no policy to act with
    RUNNING = "running"
    DRAINING = "draining"  # is to end: delivers what it has
    OVER = "over"


class Event(Enum):
    """Event that changes the state."""

    HELLO_SENT = "HELLO sent"
    WELCOMED = "welcomed"
    TERM_CHANGED = "welcomed by a learner that started again"
    POLICY_LOADED = "policy loaded"
    POLICY_UNUSABLE = "policy unusable"
    EXTENDED = "extended"
    STOPPED = "stopped"
    DRAIN = "drain"
    END = "end"


TABLE: dict[tuple[State, Event], State] = {
    (State.JOINING, Event.HELLO_SENT): State.JOINING,
    (State.WAITING, Event.HELLO_SENT): State.JOINING,
    (State.RUNNING, Event.HELLO_SENT): State.RUNNING,  # goes on running, as far as its credit reaches
    (State.DRAINING, Event.HELLO_SENT): State.DRAINING,
    (State.JOINING, Event.WELCOMED): State.WAITING,
    (State.WAITING, Event.WELCOMED): State.WAITING,
    (State.RUNNING, Event.WELCOMED): State.RUNNING,
    (State.DRAINING, Event.WELCOMED): State.DRAINING,
    (State.JOINING, Event.TERM_CHANGED): State.WAITING,
    (State.WAITING, Event.TERM_CHANGED): State.WAITING,
    (State.RUNNING, Event.TERM_CHANGED): State.WAITING,  # the policy of the new term is on the way
    (State.DRAINING, Event.TERM_CHANGED): State.DRAINING,
    (State.JOINING, Event.POLICY_LOADED): State.RUNNING,  # HELLO was asked for again while the policy was under way
    (State.WAITING, Event.POLICY_LOADED): State.RUNNING,
    (State.RUNNING, Event.POLICY_LOADED): State.RUNNING,
    (State.JOINING, Event.POLICY_UNUSABLE): State.JOINING,
    (State.WAITING, Event.POLICY_UNUSABLE): State.WAITING,
    (State.RUNNING, Event.POLICY_UNUSABLE): State.WAITING,
    (State.DRAINING, Event.POLICY_UNUSABLE): State.DRAINING,
    (State.JOINING, Event.EXTENDED): State.RUNNING,
    (State.WAITING, Event.EXTENDED): State.RUNNING,
    (State.RUNNING, Event.EXTENDED): State.RUNNING,
    (State.JOINING, Event.STOPPED): State.JOINING,
    (State.WAITING, Event.STOPPED): State.WAITING,
    (State.RUNNING, Event.STOPPED): State.WAITING,
    (State.DRAINING, Event.STOPPED): State.DRAINING,
    (State.JOINING, Event.DRAIN): State.DRAINING,
    (State.WAITING, Event.DRAIN): State.DRAINING,
    (State.RUNNING, Event.DRAIN): State.DRAINING,
    (State.DRAINING, Event.DRAIN): State.DRAINING,
    (State.JOINING, Event.END): State.OVER,
    (State.WAITING, Event.END): State.OVER,
    (State.RUNNING, Event.END): State.OVER,
    (State.DRAINING, Event.END): State.OVER,
}
