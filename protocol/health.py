"""The sign of life that container engines look at: a file whose modification time says when a loop last turned."""

import os
from pathlib import Path

PERIOD_SECONDS = 1.0


class HealthFile:
    """Touches the file named by DPPO_HEALTH_FILE; does nothing where that is not set."""

    def __init__(self) -> None:
        path = os.environ.get("DPPO_HEALTH_FILE", "")
        self._path = Path(path) if path else None
        self._next = 0.0

    def touch(self, now: float) -> None:
        """Say that the loop turns; at most once a second. `now` is monotonic."""
        if self._path is not None and now >= self._next:
            self._next = now + PERIOD_SECONDS
            self._path.touch()
