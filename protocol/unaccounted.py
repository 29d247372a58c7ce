"""Bounds of what a run has lost count of. Knows numbers only."""

from dataclasses import dataclass


@dataclass
class Unaccounted:
    """Steps that were acknowledged and are in no account, because a part of the journal is gone. Bounds."""

    least: int = 0
    most: int = 0

    def add(self, *, least: int, most: int) -> None:
        """Add to the bounds. Negative where steps were found, or have arrived once more."""
        self.most = max(0, self.most + most)
        self.least = max(0, min(self.least + least, self.most))
