"""Durations of the parts of every update, for the summary at the end. Knows numbers; knows no clock."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

KEPT = 2048  # of each part: exact up to so many updates, a fair sample of all of them beyond

PARTS = ("collect", "update", "stop", "policy")


@dataclass
class _Sample:
    """At most KEPT of all values there were, each with the same chance (reservoir sampling, Vitter's algorithm R)."""

    values: list[float] = field(default_factory=list)
    seen: int = 0

    def add(self, value: float, chance: random.Random) -> None:
        self.seen += 1
        if len(self.values) < KEPT:
            self.values.append(value)
        elif (place := chance.randrange(self.seen)) < KEPT:
            self.values[place] = value


class Timings:
    """Seconds of the updates of this start, in bounded memory however long the run is."""

    def __init__(self) -> None:
        self.totals = dict.fromkeys(PARTS, 0.0)  # seconds; replaced as a whole, so other threads may read it
        self._samples = {part: _Sample() for part in PARTS}
        self._chance = random.Random(1)  # noqa: S311 -- a sample, no secret

    def add(self, timing: Mapping[str, float]) -> None:
        """One update's, by the names of PARTS; NaN where there was nothing to measure."""
        totals = dict(self.totals)
        for part, seconds in timing.items():
            if math.isfinite(seconds):
                totals[part] += seconds
                self._samples[part].add(seconds, self._chance)
        self.totals = totals

    @property
    def idle_share(self) -> float | None:
        """Share of the time in which the learner waited for batches; None before any update."""
        collecting, updating = self.totals["collect"], self.totals["update"]
        return collecting / (collecting + updating) if collecting + updating > 0 else None

    def medians(self) -> dict[str, float | None]:
        """Return the median of every part; None where nothing was measured."""
        return {part: median(sample.values) if sample.values else None for part, sample in self._samples.items()}
