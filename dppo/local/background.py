"""A thread that does what may block: what is drawn, printed and logged, on a terminal or pipe that may take nothing.

Ctrl-S in a terminal, or a reader that has stopped, blocks the writer. Code that must go on gives what is to be shown to
such a thread. Knows nothing of what it does.
"""

import io
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

MOST_WAITING = 1000  # lines; older ones are left out
LAST_SECONDS = 5.0  # for what still waits at the end
LAST_LOG_SECONDS = 1.0


class Background:
    """Does things in order, in a thread of its own, however long each takes."""

    def __init__(self, name: str) -> None:
        self._waiting: deque[Callable[[], None]] = deque(maxlen=MOST_WAITING)
        self._changed = threading.Condition()
        self._closing = False
        self._left_out = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, act: Callable[[], None]) -> None:
        """Have it done, after what waits already. Returns at once. Raises what an earlier one has raised."""
        with self._changed:
            error, self._error = self._error, None
            if error is not None:
                raise error
            self._left_out += len(self._waiting) == MOST_WAITING
            self._waiting.append(act)
            self._changed.notify()

    @property
    def left_out(self) -> int:
        """Number of calls that were left out because too many waited."""
        with self._changed:
            return self._left_out

    def close(self, seconds: float = LAST_SECONDS) -> bool:
        """Wait until all is done, at most that long; returns whether it is."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                act = self._waiting.popleft()
            try:
                act()
            except BaseException as error:  # noqa: BLE001 -- the next call raises it
                with self._changed:
                    self._error = error


class BackgroundHandler(logging.Handler):
    """Log records as lines of a stream, written in the background."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._given = stream
        self._stream: TextIO | None = None
        self._background: Background | None = None  # begun with the first record

    def emit(self, record: logging.LogRecord) -> None:
        """Have one record written."""
        text = self.format(record)
        self._background = self._background or Background("log")
        self._background.do(lambda: self._write(text))

    def close(self) -> None:
        """Wait a moment for what still waits."""
        if self._background is not None and self._background.close(LAST_LOG_SECONDS):
            close_own(self._stream, self._given)
        super().close()

    def _write(self, text: str) -> None:
        self._stream = self._stream or own_stream(self._given)
        with suppress(OSError):  # no reader is left, or the disk is full: no reason to end
            print(text, file=self._stream, flush=True)


def own_stream(stream: TextIO) -> TextIO:
    """The same file with a buffer of its own: the lock of a buffer stays with a thread that is blocked in a write.

    A stream that is no file, as in tests and in notebooks, is taken as it is.
    """
    if not isinstance(stream, io.TextIOWrapper):  # a notebook's has a descriptor too, of the server's terminal
        return stream
    try:
        stream.flush()
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return stream
    return open(descriptor, "w", encoding=stream.encoding, errors="backslashreplace")


def close_own(stream: TextIO | None, given: TextIO) -> None:
    """End what own_stream made of the given one."""
    if stream is not None and stream is not given:
        stream.close()


def give_up_output() -> None:
    """The terminal takes nothing: whatever would still be printed goes nowhere, so that this process can end."""
    nowhere = open(os.devnull, "w")  # noqa: SIM115 -- until the process ends
    try:
        same = os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (OSError, ValueError):
        same = False
    sys.stdout = nowhere
    if same:
        sys.stderr = nowhere
