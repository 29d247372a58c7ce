"""Mean returns of a whole run for a line of a few columns, and where its time goes. Pure but for reading metrics."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

MOST = 2_048  # values kept
MOST_BYTES = 64 * 2**20  # of metrics that are read again after a resume
RECENT = 0.1  # weight of the newest update in the shares of time, so that they do not flicker
_RETURN = re.compile(rb'"mean_return": (-?[0-9.eE+-]+)')
PARTS = {"collect": "collect_seconds", "update": "update_seconds", "stop": "stop_seconds", "publish": "policy_seconds"}


class ReturnCurve:
    """Mean returns, one an update; where there are many, each value kept is the mean of some."""

    def __init__(self, values: Sequence[float] = ()) -> None:
        self._values: list[float] = []
        self._each = 1  # updates that a kept value stands for
        self._open: list[float] = []  # those of the value that is not whole
        self.best: float | None = None
        for value in values:
            self.add(value)

    def add(self, value: float) -> None:
        """Take the mean return after one more update."""
        self.best = value if self.best is None else max(self.best, value)
        self._open.append(value)
        if len(self._open) < self._each:
            return
        self._values.append(_mean(self._open))
        self._open.clear()
        if len(self._values) >= MOST:
            self._values = [_mean(self._values[at : at + 2]) for at in range(0, len(self._values), 2)]
            self._each *= 2

    def condensed(self, columns: int) -> list[float]:
        """The whole curve in at most so many values."""
        values = [*self._values, *([_mean(self._open)] if self._open else [])]
        if len(values) <= columns:
            return values
        edges = [round(column * len(values) / columns) for column in range(columns + 1)]
        return [_mean(values[first:last]) for first, last in itertools.pairwise(edges)]


def earlier_returns(metrics: Path) -> list[float]:
    """Mean returns in a run's metrics.jsonl; [] where it cannot be read, or would take long."""
    try:
        if metrics.stat().st_size > MOST_BYTES:
            return []
        return [float(value) for value in _RETURN.findall(metrics.read_bytes())]
    except (OSError, ValueError):
        return []


class TimeShares:
    """Shares of collecting, updating, stopping and publishing in the time of the newest updates."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def add(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of one more update."""
        for part, name in PARTS.items():
            value = metrics.get(name)
            if value is not None and math.isfinite(value):
                before = self._seconds.get(part, value)
                self._seconds[part] = before + RECENT * (value - before)

    def shares(self) -> dict[str, float]:
        """Parts that sum up to 1; {} before the first update."""
        total = sum(self._seconds.values())
        return {part: seconds / total for part, seconds in self._seconds.items()} if total > 0 else {}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
