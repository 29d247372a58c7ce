"""The sign of life that container engines look at: a file whose modification time says when a loop last turned."""

import logging
import os
from pathlib import Path

log = logging.getLogger("dppo")

PERIOD_SECONDS = 1.0


class HealthFile:
    """Touches the file named by DPPO_HEALTH_FILE; does nothing where that is not set."""

    def __init__(self) -> None:
        path = os.environ.get("DPPO_HEALTH_FILE", "")
        self._path = Path(path) if path else None
        self._next = 0.0
        self._failed = False

    def touch(self, now: float) -> None:
        """Say that the loop turns; at most once a second. `now` is monotonic.

        A file that cannot be touched (a read-only or full disk) is reported once, and ends nothing: the loop turns.
        """
        if self._path is None or now < self._next:
            return
        self._next = now + PERIOD_SECONDS
        try:
            self._path.touch()
        except OSError as error:
            if not self._failed:
                log.warning("DPPO_HEALTH_FILE=%s cannot be touched: %s", self._path, error.strerror or error)
            self._failed = True
        else:
            self._failed = False
