"""The newest status of a run in its directory, for other terminals and hosts. The run writes it, `dppo watch` reads."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from dppo.learner.atomic_files import replace_file
from dppo.learner.telemetry.status import LAST_PHASE, Status

NAME = "status.json"
WRITE_SECONDS = 1.0


class DatedStatus(msgspec.Struct, frozen=True):
    """A status, and when it was."""

    at: float  # seconds since 1970
    status: Status
    afterwards: str = ""  # what the learner's process does when training is over


class StatusFile:
    """Writes the newest status once a second, whole or not at all."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, time_of_day: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._time_of_day = time_of_day
        self._written_at: float | None = None

    def look(self, status: Status) -> None:
        """Write it, where it is time or it is the last one. A full disk, or a directory that is gone, is no error."""
        now = self._clock()
        is_due = self._written_at is None or now - self._written_at >= WRITE_SECONDS
        if is_due or status.phase == LAST_PHASE:
            self._written_at = now
            with suppress(OSError):
                dated = DatedStatus(self._time_of_day(), status)
                replace_file(Path(status.run_directory, NAME), msgspec.json.encode(dated))


def read_status(directory: Path) -> DatedStatus | None:
    """Read the newest one; None where there is none that can be read."""
    try:
        return msgspec.json.decode((directory / NAME).read_bytes(), type=DatedStatus)
    except (OSError, msgspec.DecodeError):
        return None


def note_afterwards(directory: Path, doing: str) -> None:
    """Note beside the newest status what goes on when training is over. Where it cannot be written it is left out."""
    dated = read_status(directory)
    if dated is not None:
        with suppress(OSError):
            replace_file(directory / NAME, msgspec.json.encode(msgspec.structs.replace(dated, afterwards=doing)))
