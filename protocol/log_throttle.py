"""Choice of the lines to log, where the same happens again and again. Knows neither logs nor clocks."""

import threading
from dataclasses import dataclass

OTHERS = "others"  # kinds beyond the most that are kept apart


@dataclass
class _Count:
    times: int = 0
    due_at: int = 1  # times
    held: int = 0  # of them without a line, since the newest summary


class LogThrottle:
    """Events by kind: all are counted, and a few are due to be logged. May be called by several threads.

    A kind is due the first time, then whenever it has happened `growth` times as often as when it last was; and at most
    one event is due in `least_seconds`, whatever its kind.
    """

    def __init__(self, *, growth: int, least_seconds: float = 0.0, max_kinds: int = 100) -> None:
        self._growth = growth
        self._least_seconds = least_seconds
        self._max_kinds = max_kinds
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}
        self._logged_at: float | None = None

    def count(self, kind: str, now: float = 0.0) -> int:
        """Count an event. Return how often its kind has happened if a line is due, else 0."""
        with self._lock:
            if kind not in self._counts and len(self._counts) >= self._max_kinds:
                kind = OTHERS
            count = self._counts.setdefault(kind, _Count())
            count.times += 1
            if count.times < count.due_at or self._is_early(now):
                count.held += 1
                return 0
            count.due_at = max(count.times + 1, self._growth * count.times)
            self._logged_at = now
            return count.times

    def take_held(self, now: float) -> dict[str, int]:
        """Return the number of events without a line by kind, most first; empty while no line is due.

        All kinds are new again after that.
        """
        with self._lock:
            held = {kind: count.held for kind, count in self._counts.items() if count.held}
            if not held or self._is_early(now):
                return {}
            self._logged_at = now
            self._counts.clear()
        return dict(sorted(held.items(), key=lambda kind_and_number: -kind_and_number[1]))

    def forget(self, kind: str) -> int:
        """Count a kind anew. Return how often it had happened."""
        with self._lock:
            count = self._counts.pop(kind, None)
        return 0 if count is None else count.times

    def _is_early(self, now: float) -> bool:
        return self._logged_at is not None and now - self._logged_at < self._least_seconds
