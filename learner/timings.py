"""How long the parts of every update took, for the summary at the end. Knows numbers; knows no clock."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median


@dataclass
class Timings:
    """Seconds of every update of this start; NaN where there was nothing to measure."""

    collect: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)
    stop: list[float] = field(default_factory=list)
    policy: list[float] = field(default_factory=list)

    def add(self, timing: Mapping[str, float]) -> None:
        """One update's, by the names above."""
        for name, seconds in timing.items():
            getattr(self, name).append(seconds)

    def medians(self) -> dict[str, float | None]:
        """Of every part; None where nothing was measured."""
        finite = {name: [value for value in values if math.isfinite(value)] for name, values in asdict(self).items()}
        return {name: median(values) if values else None for name, values in finite.items()}
