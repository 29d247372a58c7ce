"""Punctuality of actors, and how long to wait for those that may be late. Pure; times are handed in.

An actor that has kept to its time is waited for as long as the rule allows. One of which that is not known (new, or
late once) is waited for out of a small allowance that all of them share, so that however many there are, and whatever
their names, they cost the others WASTED_SHARE of the time. One that was late LATE_TIMES is not waited for, until it has
been in time again: twice in a row, and each time that it falls back, twice as often. Actors that were in time a few
times and are then late make more times required of all that are new.
"""

from dataclasses import dataclass

LATE_TIMES = 2
WASTED_SHARE = 0.03  # of all time, for waits in vain
LEAST_SECONDS = 0.25  # of one wait: many tiny ones would cost more than they are allowed
MAX_ACTORS = 4096  # with a record; the oldest are forgotten
MAX_REQUIRED = 1024  # times in a row
TRUSTED = 256  # times in a row that show at any time that an actor keeps to its time
FORGIVEN_AFTER = 1024  # answers in time, of all actors, after which half as many of one are required


@dataclass
class Record:
    """Record of one actor, over all its connections."""

    late: int = 0  # times, less those made up for
    in_time: int = 0  # times in a row
    seconds: float = 0.0  # that its newest answer took, late or not; 0: there was none

    @property
    def is_kept(self) -> bool:
        """Whether the actor keeps to its time, as far as is known."""
        return self.in_time >= min(1 << max(0, self.late - 1), MAX_REQUIRED)

    @property
    def is_given_up(self) -> bool:
        """Whether the actor was late too often to be waited for."""
        return self.late >= LATE_TIMES and not self.is_kept


class Punctuality:
    """Records of all actors, and what is left of the time that may be wasted."""

    def __init__(self, limit_seconds: float, allowance_seconds: float) -> None:
        """limit_seconds: of one wait. allowance_seconds: for those that are not known, at most at once."""
        self._limit_seconds = limit_seconds
        self._most_seconds = min(limit_seconds, allowance_seconds)
        self._records: dict[str, Record] = {}
        self._allowance = self._most_seconds
        self._counted_at: float | None = None
        self._required = 1  # times in a row, of an actor that is to be waited for as long as the rule allows
        self._answers = 0  # in time, of all actors

    def record(self, actor: str) -> Record:
        """The record of that actor, new where there is none."""
        record = self._records.get(actor)
        if record is None:
            record = self._records[actor] = Record()
            if len(self._records) > MAX_ACTORS:
                del self._records[next(iter(self._records))]
        return record

    def is_given_up(self, actor: str) -> bool:
        """Whether that actor is not waited for."""
        record = self._records.get(actor)
        return record is not None and record.is_given_up

    def allowed_seconds(self, actor: str, now: float) -> float:
        """Seconds that the others may wait for that actor."""
        record = self._records.get(actor)
        if record is not None and record.is_kept and record.in_time >= self._required:
            return self._limit_seconds
        if record is not None and record.is_given_up:
            return 0.0
        left = self._left(now)
        return left if left >= min(LEAST_SECONDS, self._most_seconds) else 0.0

    def in_time(self, actor: str, seconds: float) -> None:
        """The actor did what was asked of it, after that time."""
        record = self.record(actor)
        record.seconds = seconds
        record.in_time += 1
        self._answers += 1
        if self._answers % FORGIVEN_AFTER == 0:
            self._required = max(1, self._required // 2)
        if record.late and record.in_time >= MAX_REQUIRED:
            record.late -= 1
            record.in_time = 0 if record.late else record.in_time

    def late(self, actor: str) -> Record:
        """The actor did not do it within the limit."""
        record = self.record(actor)
        if 0 < record.in_time < TRUSTED:
            self._required = min(2 * self._required, TRUSTED)
        record.late += 1
        record.in_time = 0
        return record

    def gone(self, actor: str, seconds: float) -> None:
        """The actor went without doing it, after the others had waited for so long."""
        if seconds >= LEAST_SECONDS:
            self.late(actor)

    def wasted(self, seconds: float, now: float) -> None:
        """Subtract a wait that ended without an answer from the allowance."""
        self._allowance = max(0.0, self._left(now) - seconds)

    def _left(self, now: float) -> float:
        if self._counted_at is not None:
            grown = self._allowance + WASTED_SHARE * (now - self._counted_at)
            self._allowance = min(self._most_seconds, grown)
        self._counted_at = now
        return self._allowance
