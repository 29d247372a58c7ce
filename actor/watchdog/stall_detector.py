"""Decides when an environment is stuck, and when hung, by looks at what the main thread is doing. Reads no clock."""

from collections.abc import Sequence
from dataclasses import dataclass

from dppo.actor.watchdog.activity import Activity

STUCK_SECONDS = 3.0  # a silence that is reported to the learner
END_SECONDS = 3.0  # to stand still after one was told to end
LEAST_STOP_SECONDS = 5.0  # that a process may be stopped, beyond its limit
MOST_BETWEEN_LOOKS_SECONDS = 2.0  # a process that was stopped and continued has not been stuck in between


@dataclass(frozen=True)
class Stuck:
    """One step, reset or making that does not come to an end."""

    what: str
    column: int | None  # of the environment whose turn it is, None: all at once
    seconds: float
    hung: bool  # longer than the limit

    def words(self, place: str, waiting: Sequence[int]) -> str:
        """Describe the place, as in: for 4 s in env.step of environment 2 (reacher.py:44 in step).

        waiting: columns whose processes have not answered; then their stacks are elsewhere, and `place` is of no use.
        """
        text = f"for {self.seconds:.0f} s in {self.what}"
        if waiting:
            names = ", ".join(map(str, waiting[:8])) + (", ..." if len(waiting) > 8 else "")
            return f"{text}, waiting for the process{'es' if len(waiting) > 1 else ''} of environment {names}"
        if self.column is not None:
            text += f" of environment {self.column}"
        return f"{text} ({place})" if place else text


def held_seconds(limit_seconds: float) -> float:
    """Return how long the interpreter may be held before the watchdog of C code ends the process.

    That one counts the time in which the process was stopped (SIGSTOP, `docker pause`) and cannot know better, unlike
    `StallDetector`; so it gets as much again, and a stop of that length costs no actor.
    """
    return limit_seconds + max(limit_seconds, LEAST_STOP_SECONDS)


class StallDetector:
    """Stall detector of one activity. Call `look` about once a second."""

    def __init__(self) -> None:
        self._turn: tuple[int, str, int | None] = (-1, "", None)
        self._seconds = 0.0
        self._looked = 0.0

    def look(self, activity: Activity, now: float) -> Stuck | None:
        """Return what has been going on for too long, None where nothing has."""
        environments = activity.environments
        column = environments.column if environments is not None else None
        turn = (activity.turns, activity.what, column)
        same = turn == self._turn and activity.what != ""
        passed = min(now - self._looked, MOST_BETWEEN_LOOKS_SECONDS)
        self._turn, self._looked = turn, now
        self._seconds = self._seconds + passed if same else 0.0
        if self._seconds < min(STUCK_SECONDS, activity.limit_seconds or STUCK_SECONDS):
            return None
        hung = 0 < activity.limit_seconds <= self._seconds
        return Stuck(activity.what, column, self._seconds, hung)


class EndWatch:
    """Watch over a main thread that was told to end. Call `is_late` about once a second."""

    def __init__(self) -> None:
        self._loops = -1
        self._seconds = 0.0  # that it has stood still since it was told
        self._looked = 0.0

    def is_late(self, told: bool, loops: int, now: float) -> bool:
        """Whether it was told and has stood still for too long since; loops: grows while it goes on."""
        passed = min(now - self._looked, MOST_BETWEEN_LOOKS_SECONDS)
        stands_still = told and loops == self._loops
        self._loops, self._looked = loops, now
        self._seconds = self._seconds + passed if stands_still else 0.0
        return self._seconds >= END_SECONDS
