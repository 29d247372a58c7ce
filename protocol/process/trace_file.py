"""A trace as JSON lines in a file of bounded size, written by a thread of its own. Knows nothing of what is traced.

The sessions' threads only append to a queue: no lock of theirs is held while a line is encoded or written.
"""

import fcntl
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.errors import UsageError
from dppo.protocol.release import RELEASE
from dppo.protocol.trace import Record, Trace

log = logging.getLogger("dppo")

MAX_BYTES = 64 * 2**20  # of one file; the one before it is kept beside it
RESERVE_BYTES = 512  # for the last line
MAX_WAITING = 100_000  # records: where the disk is slower than the session, the next ones are counted and left out
WRITE_SECONDS = 0.2


class TraceFile:
    """One process's trace. `FILE.1` is the part before it, once the file was full."""

    def __init__(self, path: Path, side: str, *, max_bytes: int = MAX_BYTES) -> None:
        """side: learner or actor. Raises UsageError where the file cannot be written, or another process writes it."""
        self.path = path
        self._side = side
        self._max_bytes = max_bytes
        self._waiting: deque[Record] = deque()
        self._left_out = 0
        self._is_over = False  # the disk is full, for example
        self._closing = threading.Event()
        try:
            self._descriptor = _opened(path)
        except BlockingIOError:
            raise UsageError(
                f"trace {path} is being written by another process: choose another file for --trace"
            ) from None
        except OSError as error:
            raise UsageError(
                f"trace {path} cannot be written: {error.strerror or error}. Choose another file for --trace"
            ) from None
        self._size = os.fstat(self._descriptor).st_size
        self.trace = Trace(self._add, time.monotonic)
        self._add(self._head("begin"))
        self._thread = threading.Thread(target=self._run, name="trace", daemon=True)
        self._thread.start()

    def __enter__(self) -> "TraceFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left."""
        self._add(_line_of("end"))
        self._closing.set()
        self._thread.join()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _head(self, event: str) -> Record:
        """Return a first line, by which times of several files can be compared."""
        about = {
            "side": self._side,
            "time_of_day": round(time.time(), 6),
            "release": RELEASE,
            "protocol": PROTOCOL_VERSION,
            "pid": os.getpid(),
            "host": os.uname().nodename,
        }
        return _line_of(event, about)

    def _add(self, record: Record) -> None:
        if len(self._waiting) < MAX_WAITING and not self._is_over:
            self._waiting.append(record)
        else:
            self._left_out += 1

    # The thread

    def _run(self) -> None:
        try:
            while not self._closing.wait(WRITE_SECONDS):
                self._write_waiting()
            self._write_waiting()
        except OSError as error:
            log.warning("the trace %s ends here: %s", self.path, error.strerror or error)
            self._is_over = True
            self._waiting.clear()

    def _write_waiting(self) -> None:
        lines: list[bytes] = []
        size = 0
        for _ in range(len(self._waiting)):
            line = msgspec.json.encode(self._waiting.popleft()) + b"\n"
            if self._size + size + len(line) > self._max_bytes - RESERVE_BYTES:
                self._write(b"".join(lines))
                self._begin_another()
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        left_out, self._left_out = self._left_out, 0
        if left_out:
            lines.append(msgspec.json.encode(_line_of("left out", {"records": left_out})) + b"\n")
        self._write(b"".join(lines))

    def _begin_another(self) -> None:
        """Close the full file with a line that says so, and go on in a new one."""
        self._write(msgspec.json.encode(_line_of("full", {"goes_on_in": self.path.name})) + b"\n")
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        before, self._descriptor = self._descriptor, _opened(self.path)
        os.close(before)
        self._size = 0
        self._write(msgspec.json.encode(self._head("goes on")) + b"\n")

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            written = os.write(self._descriptor, rest)
            self._size += written
            rest = rest[written:]


def _line_of(event: str, fields: Mapping[str, Any] | None = None) -> Record:
    """Return a record of the file itself."""
    record: Record = {"time": round(time.monotonic(), 6), "event": event, "state": ""}
    return {**record, "fields": fields} if fields else record


def _opened(path: Path) -> int:
    """Open for one process at a time, readable for its owner only; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is no regular file")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
