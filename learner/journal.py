"""The journal on the disk: an entry for every rollout acknowledged, so that the books of a killed learner are whole.

Written by the network thread before the ACK leaves, without fsync: it survives the death of the process, not of the
machine. A new file begins with every start and after every failure to write, so that only a file's end can be torn, and
with a checkpoint when the old one has become long, so that it can be deleted once no checkpoint needs it.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from learner.appended_file import AppendedFile
from learner.entries import RECORD_BYTES, Entry, unpack

DIRECTORY = "journal"
LONG_RECORDS = 4096
MAX_WAITING = 100_000  # records that wait for a full disk, 17 MB

_NAME = re.compile(r"(\d{8,})")


class Position(NamedTuple):
    """A place between two entries."""

    file: int
    records: int  # of that file, before this place


class Journal:
    """Appends to the journal of one run directory. One thread at a time."""

    def __init__(self, run_directory: Path, warn: Callable[[str], None]) -> None:
        self._directory = run_directory / DIRECTORY
        self._warn = warn
        self._position = Position(max(_numbers(self._directory), default=0) + 1, 0)
        self._file = self._open()
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)  # the disk did not take them
        self._lost = 0  # there were more

    def append(self, entry: Entry) -> None:
        """Write it; when that is impossible, say so once, keep it and try again with the next one."""
        if self._waiting:
            self._lost += len(self._waiting) == MAX_WAITING
            self._waiting.append(entry.pack())
            self.retry()
            return
        record = entry.pack()
        try:
            self._write(record)
        except OSError as error:
            self._waiting.append(record)
            self._warn(
                f"the journal in {self._directory} cannot be written: {error.strerror or error}. Training goes on; "
                "until there is space or permission again, a killed learner would not know what it had accepted last."
            )
            self.begin_file()

    def retry(self) -> None:
        """Write what waits, if the disk takes it now."""
        if not self._waiting:
            return
        try:
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.popleft()
        except OSError:
            self.begin_file()
            return
        lost = f"; {self._lost} entries were too many to keep" * bool(self._lost)
        self._lost = 0
        self._warn(f"the journal in {self._directory} is written again{lost}")

    @property
    def position(self) -> Position:
        """Where the next entry goes."""
        return self._position

    def turn_over(self) -> None:
        """A checkpoint is about to contain everything so far: go on in a new file if this one is long."""
        if self._position.records >= LONG_RECORDS:
            self.begin_file()

    def begin_file(self) -> None:
        """The next entry goes into a new file."""
        self._file.close()
        if self._position.records or self._holds_a_torn_record():
            self._position = Position(self._position.file + 1, 0)
        self._file = self._open()

    def forget_before(self, file: int) -> None:
        """Delete files that no checkpoint needs any more. What cannot be deleted is left for the next time."""
        for number in _numbers(self._directory):
            if number < file:
                try:
                    (self._directory / f"{number:08d}").unlink()
                except OSError:
                    return

    def close(self) -> None:
        """Everything is in the files when this returns (as it is after every append)."""
        self._file.close()

    @property
    def _path(self) -> Path:
        return self._directory / f"{self._position.file:08d}"

    def _holds_a_torn_record(self) -> bool:
        try:
            return self._path.stat().st_size > 0
        except OSError:
            return False

    def _open(self) -> AppendedFile:
        return AppendedFile(self._path)

    def _write(self, record: bytes) -> None:
        if not self._position.records:
            self._directory.mkdir(exist_ok=True)
        self._file.append(record)
        self._position = Position(self._position.file, self._position.records + 1)


def entries_after(run_directory: Path, position: Position) -> Iterator[Entry]:
    """Everything that was written behind that place, in order. Raises OSError."""
    directory = run_directory / DIRECTORY
    for number in sorted(_numbers(directory)):
        if number >= position.file:
            content = (directory / f"{number:08d}").read_bytes()
            skipped = position.records if number == position.file else 0
            yield from unpack(content[skipped * RECORD_BYTES :])


def _numbers(directory: Path) -> list[int]:
    try:
        return [int(path.name) for path in directory.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return []
