"""Lanes of a timeline: activities of each actor and learner in a window of the run. Knows numbers; knows no events.

Memory is bounded: seconds by column of the picture always, single spans only as long as they are few.
"""

import math
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from dppo.protocol.actor_names import host_of

MOST_SPANS = 100_000  # of all lanes together: beyond it, columns are all that there is to draw
MOST_MARKS = 1_000
SAME_SECONDS = 0.002  # between a message and what follows from it
MOST_COLUMNS = 600
FEWEST_COLUMNS = 50
MOST_CELLS = 1_000_000  # columns of all lanes together: 8 bytes for each activity
TASKS = ("env", "policy", "send", "idle")  # of an actor, as it measures them
Window = tuple[float, float]  # seconds of the run


class Doing(Enum):
    """Activity of an actor or a learner, as a learner's trace has it."""

    WORKING = "stepping, collecting"
    SENDING = "sending, not acknowledged"
    STOPPING = "from STOP to the answer"
    UPDATING = "updating"
    PUBLISHING = "policy under way"
    WAITING = "waiting"
    JOINING = "joining"
    ENDING = "ending"
    AWAY = "away"


PLACES = {doing: place for place, doing in enumerate(Doing)}  # rows of Lane.columns


class Happening(Enum):
    """Event that is a mark on a lane."""

    JOINED = "joined"
    RESTARTED = "started again"
    RECONNECTED = "connected again"
    LOST = "connection lost"
    LEFT = "left"
    REFUSED = "refused"
    TROUBLE = "environment in trouble"


@dataclass(frozen=True)
class Start:
    """Another start of a learner."""

    seconds: float
    name: str
    away_seconds: float  # since the last that is known of the one before


@dataclass(frozen=True)
class Mark:
    """One happening on a lane."""

    seconds: float
    lane: str
    happening: Happening


@dataclass
class StopWait:
    """One STOP: how long the learner waited, and for which actor."""

    version: int  # of the policy that it ended
    began: float
    seconds: float = 0.0
    actors: int = 0  # that were sent STOP
    last: str = ""  # actor that answered last, or went
    last_seconds: float = 0.0  # from STOP to that
    others_seconds: float = 0.0  # from STOP to the answer before the one that ended the wait; 0: there was none
    waited_for: tuple[str, ...] = ()  # actors that kept the learner waiting: one, or those that it went on without
    is_answered: bool = True  # the wait ended with an answer, or with the actor

    def answered(self, name: str, seconds: float) -> None:
        """Note an answer, or that the actor went; seconds: since STOP."""
        self.others_seconds = self.last_seconds
        self.last, self.last_seconds = name, seconds

    def end(self, seconds: float, unanswered: tuple[str, ...]) -> None:
        """Note that the wait is over; unanswered: actors that were sent STOP and have not answered."""
        self.seconds = seconds
        if unanswered and seconds - self.last_seconds > SAME_SECONDS:  # the last answer did not end it
            self.others_seconds, self.waited_for, self.is_answered = self.last_seconds, unanswered, False
        elif self.last:
            self.waited_for = (self.last,)

    @property
    def lost_seconds(self) -> float:
        """Return how much sooner the update would have begun without those that it waited for."""
        return max(0.0, self.seconds - self.others_seconds)


@dataclass
class Lane:
    """One actor, or one learner."""

    name: str
    is_learner: bool
    columns: np.ndarray  # [activities, columns] seconds, of the window
    seconds: dict[Doing, float] = field(default_factory=lambda: dict.fromkeys(Doing, 0.0))
    spans: list[tuple[float, float, Doing]] = field(default_factory=list)  # start, end; without AWAY
    rollouts: list[float] = field(default_factory=list)  # moments at which one arrived
    steps: int = 0
    envs: int = 1
    task_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 0.0))  # by its own reports
    last_of_stops: int = 0
    lost_seconds: float = 0.0  # for which learners waited for this actor alone
    late_answers: int = 0  # to STOP, after the learner had gone on

    @property
    def host(self) -> str:
        """Return the host by its name."""
        return host_of(self.name)

    @property
    def here_seconds(self) -> float:
        """Return seconds of the window in which it was there."""
        return sum(seconds for doing, seconds in self.seconds.items() if doing is not Doing.AWAY)

    def share(self, doing: Doing) -> float:
        """Return the share of the time in which it was there."""
        return self.seconds[doing] / self.here_seconds if self.here_seconds else 0.0

    @property
    def speed(self) -> float:
        """Return steps a second in each environment while it steps and sends; NaN where it did not."""
        seconds = sum(self.seconds[doing] for doing in (Doing.WORKING, Doing.SENDING, Doing.STOPPING))
        return self.steps / seconds / self.envs if seconds > 0 and self.steps else math.nan


class Board:
    """All lanes, with what belongs to several."""

    def __init__(self, window: Window, lanes: int) -> None:
        """lanes: how many there will be at most."""
        self.window = window
        self.lanes: dict[str, Lane] = {}
        self.marks: list[Mark] = []
        self.stops: list[StopWait] = []
        self.starts: list[Start] = []  # of learners that had run before
        self.is_fine = True  # spans are there, and not only columns
        self.updates = 0  # in the window, of the first learner
        self.left_out = 0  # records that the traces lack
        columns = MOST_CELLS // max(1, lanes)
        self.columns = max(FEWEST_COLUMNS, min(MOST_COLUMNS, columns))
        self._spans = 0

    @property
    def column_seconds(self) -> float:
        """Return the width of a column."""
        return (self.window[1] - self.window[0]) / self.columns

    @property
    def actors(self) -> list[Lane]:
        """Return the lanes of actors that were there in the window."""
        return [lane for lane in self.lanes.values() if not lane.is_learner and lane.here_seconds > 0]

    @property
    def learners(self) -> list[Lane]:
        """Return the lanes of learners, rank by rank."""
        return [lane for lane in self.lanes.values() if lane.is_learner]

    def lane(self, name: str, *, is_learner: bool = False) -> Lane:
        """Return the lane of that name, made where there is none yet."""
        key = f"learner {name}" if is_learner else name
        if key not in self.lanes:
            self.lanes[key] = Lane(name, is_learner, np.zeros((len(Doing), self.columns), np.float32))
        return self.lanes[key]

    def covers(self, seconds: float) -> bool:
        """Whether that moment is in the window: its end is, and its beginning only where it is that of the run."""
        first, last = self.window
        return first < seconds <= last or seconds == first == 0.0

    def mark(self, seconds: float, lane: Lane, happening: Happening) -> None:
        """Add a mark, unless the same one is so near that the two could not be told apart."""
        if not self.covers(seconds) or len(self.marks) >= MOST_MARKS:
            return
        near = seconds - self.column_seconds
        for mark in reversed(self.marks[-len(self.lanes) :]):
            if mark.lane == lane.name and mark.happening is happening and mark.seconds >= near:
                return
        self.marks.append(Mark(seconds, lane.name, happening))

    def rollout(self, lane: Lane, seconds: float, steps: int) -> None:
        """Count a rollout that arrived."""
        if self.covers(seconds):
            lane.steps += steps
            if self._has_room():
                lane.rollouts.append(seconds)

    def span(self, lane: Lane, start: float, end: float, doing: Doing) -> None:
        """Add one activity, as far as it is in the window."""
        start, end = max(start, self.window[0]), min(end, self.window[1])
        if end <= start:
            return
        lane.seconds[doing] += end - start
        self._fill(lane.columns[PLACES[doing]], start, end)
        if doing is Doing.AWAY:
            return
        if lane.spans and lane.spans[-1][2] is doing and lane.spans[-1][1] == start:
            lane.spans[-1] = (lane.spans[-1][0], end, doing)
        elif self._has_room():
            lane.spans.append((start, end, doing))

    def _has_room(self) -> bool:
        """Whether one more span may be kept; drop them all where they become too many."""
        self._spans += 1
        if self.is_fine and self._spans > MOST_SPANS:
            self.is_fine = False
            for lane in self.lanes.values():
                lane.spans.clear()
                lane.rollouts.clear()
        return self.is_fine

    def _fill(self, row: np.ndarray, start: float, end: float) -> None:
        """row: [columns] seconds."""
        width = self.column_seconds
        first, last = ((moment - self.window[0]) / width for moment in (start, end))
        left, right = min(int(first), len(row) - 1), min(int(last), len(row) - 1)
        if left == right:
            row[left] += end - start
            return
        row[left] += (left + 1 - first) * width
        if right - left > 1:
            row[left + 1 : right] += width
        row[right] += (last - right) * width
