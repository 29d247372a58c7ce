"""The journal on the disk: an entry for every rollout acknowledged, so that the books of a killed learner are whole.

Written by the network thread before the ACK leaves, without fsync: it survives the death of the process, not of the
machine. A new file begins with every start and after every failure to write, and with a checkpoint when the old one has
become long, so that it can be deleted once no checkpoint needs it. The file `.end` says beside them how far the journal
goes: by it a reader knows what is missing behind the last record there is.
"""

import os
import re
import struct
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dppo.learner.appended_file import AppendedFile
from dppo.learner.regular_files import open_own
from dppo.learner.storage.journal_records import RECORD_BYTES, Entry, Record, is_of_first_format, unpack
from dppo.learner.storage.journal_replay import Hole, holes_between

DIRECTORY = "journal"
END_FILE = ".end"
LONG_RECORDS = 4096
MAX_WAITING = 100_000  # records that wait for a full disk, 22 MB

_NAME = re.compile(r"(\d{8,})")
_END = struct.Struct("<QQ")  # number and steps that the next record goes on from
_CHECKSUM = struct.Struct("<I")
_SLOT_BYTES = 32  # two of them, written in turns: death in the middle of one leaves the other


class Position(NamedTuple):
    """A place between two entries."""

    file: int
    number: int = 0  # of the next entry
    steps: int = 0  # of all entries before this place

    @classmethod
    def of(cls, state: Any) -> "Position":
        """Read it as a checkpoint has it; nothing but the file in those of the first format."""
        return cls(*map(int, state)) if len(state) == len(cls._fields) else cls(int(state[0]))


class Journal:
    """Appends to the journal of one run directory. One thread at a time."""

    def __init__(self, run_directory: Path, warn: Callable[[str], None], *, number: int = 0, steps: int = 0) -> None:
        """number, steps: where the entries there are end (`Behind.number` and `.steps`)."""
        self._directory = run_directory / DIRECTORY
        self._warn = warn
        self._position = Position(max(_numbers(self._directory), default=0) + 1, number, steps)
        self._records = 0  # in this file
        self._file = self._open()
        self._end = _EndMark(self._directory)
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)  # the disk did not take them
        self._lost = 0  # there were more

    def append(self, entry: Entry) -> None:
        """Write it; when that is impossible, say so once, keep it and try again with the next one."""
        file, number, steps = self._position
        record = entry.pack(number, steps + entry.steps)
        self._position = Position(file, number + 1, steps + entry.steps)
        if self._waiting:
            self._lost += len(self._waiting) == MAX_WAITING
            self._waiting.append(record)
            self.retry()
        else:
            try:
                self._write(record)
            except OSError as error:
                self._waiting.append(record)
                self._warn(
                    f"the journal in {self._directory} cannot be written: {error.strerror or error}. Training goes on; "
                    "until there is space or permission again, a killed learner would not know what it had accepted "
                    "last."
                )
                self.begin_file()
        self._end.write(self._position)

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
        lost = f"; {self._lost} entries were too many to keep" if self._lost else ""
        self._lost = 0
        self._warn(f"the journal in {self._directory} is written again{lost}")

    @property
    def position(self) -> Position:
        """Return the place of the next entry."""
        return self._position

    def turn_over(self, keeps: int = 0) -> None:
        """A checkpoint is about to contain everything so far: go on in a new file if this one is long.

        keeps: delete all but so many files before it, where the checkpoints are another learner's; 0: none.
        """
        if self._records >= LONG_RECORDS:
            self.begin_file()
            if keeps:
                self.forget_before(self._position.file - keeps)

    def begin_file(self) -> None:
        """The next entry goes into a new file."""
        self._file.close()
        if self._records or self._holds_a_torn_record():
            self._position = self._position._replace(file=self._position.file + 1)
            self._records = 0
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
        """Close the files; all is in them (as it is after every append)."""
        self._file.close()
        self._end.close()

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
        if not self._records:
            self._directory.mkdir(exist_ok=True)
        self._file.append(record)
        self._records += 1


class _EndMark:
    """End of the journal, in a file of its own. After a failed write, the next entry tries again."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / END_FILE
        self._descriptor = -1
        self._is_whole = False

    def write(self, position: Position) -> None:
        body = _END.pack(position.number, position.steps)
        slot = body + _CHECKSUM.pack(zlib.crc32(body))
        with suppress(OSError):
            if self._descriptor < 0:
                self._descriptor = open_own(self._path, os.O_RDWR | os.O_CREAT)
            os.pwrite(self._descriptor, slot, position.number % 2 * _SLOT_BYTES)
            if not self._is_whole:
                os.pwrite(self._descriptor, slot, (position.number + 1) % 2 * _SLOT_BYTES)
                self._is_whole = True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass(frozen=True)
class Behind:
    """Entries of the journal behind a position, and what is missing there."""

    entries: tuple[Entry, ...]
    holes: tuple[Hole, ...]
    problems: tuple[str, ...]  # what cannot be known, a line each
    number: int  # of the next record
    steps: int  # of all records


def entries_behind(run_directory: Path, position: Position) -> Behind:
    """Return all entries behind that position, in order, and what is missing there.

    Raises OSError, and UsageError where only a newer release can read it.
    """
    directory = run_directory / DIRECTORY
    problems = []
    end = _read_end(directory)  # before the files: a learner may be writing
    found: dict[int, Record] = {}
    for file in sorted(_numbers(directory)):
        content = (directory / f"{file:08d}").read_bytes()
        if file >= position.file and is_of_first_format(content):
            text = "is of an older release and is not read: what its learner had accepted is in no account"
            problems.append(f"file {file:08d} {text}")
        elif file >= position.file or not _ends_before(content, position.number):
            found.update({record.number: record for record in unpack(content)})
    records = [found[number] for number in sorted(found) if number >= position.number]
    if end is None and (records or position.number):
        problems.append(f"its file {END_FILE} is gone or damaged: whether records are missing at its end is not known")
    holes = holes_between(position.number, position.steps, records, end)
    number, steps = position.number, position.steps
    if records:
        number, steps = records[-1].number + 1, records[-1].steps_upto
    if end is not None and end[0] > number:
        number, steps = end
    return Behind(tuple(record.entry for record in records), tuple(holes), tuple(problems), number, steps)


def _ends_before(content: bytes, number: int) -> bool:
    """Whether all records of a file are older than that, by its first one: its numbers rise by one."""
    first = next(unpack(content[:RECORD_BYTES]), None)
    return first is not None and first.number + len(content) // RECORD_BYTES <= number


def _read_end(directory: Path) -> tuple[int, int] | None:
    try:
        content = (directory / END_FILE).read_bytes()
    except OSError:
        return None
    ends = []
    for at in (0, _SLOT_BYTES):
        body, checksum = content[at : at + _END.size], content[at + _END.size :][: _CHECKSUM.size]
        if len(checksum) < _CHECKSUM.size or _CHECKSUM.unpack(checksum)[0] != zlib.crc32(body):
            return None  # it may have been the newer one
        ends.append(_END.unpack(body))
    return max(ends)


def _numbers(directory: Path) -> list[int]:
    try:
        return [int(path.name) for path in directory.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return []
