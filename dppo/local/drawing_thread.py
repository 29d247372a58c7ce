"""Draw a run's progress in a thread of its own. Has the methods of Progress; they return at once."""

import atexit
import functools
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from dppo.fitted_text import fitted
from dppo.learner.telemetry.status import Status
from dppo.local.background import Background, close_own, give_up_output, own_stream
from dppo.local.progress import Progress
from dppo.watch.status_file import StatusFile

LAST_NOTES_SECONDS = 1.0


class Screen:
    """Give it every Status and note, from any thread. Use as a context manager: leaving it restores the terminal."""

    def __init__(
        self,
        progress: Progress | None = None,
        look: Callable[[Status], None] | None = None,
        publish: Callable[[Status], None] = lambda status: None,
    ) -> None:
        """progress: what draws; None: on standard output. look: called with every status drawn, in the same thread.

        publish: called with every status, drawn or not, in the thread that shows it; returns at once.
        """
        self._publish = publish
        self._given = progress
        self._output = sys.stdout
        self._stream: TextIO | None = None
        self._look = look
        self._file = StatusFile()
        self._lock = threading.Lock()
        self._newest: Status | None = None  # to be drawn
        self._is_closed = False
        self._is_stuck = False
        self._background = Background("screen")
        atexit.register(self._background.close, LAST_NOTES_SECONDS)

    def __enter__(self) -> Self:
        self._background.do(self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.do(lambda: self._progress.__exit__(kind, error, trace))
        self._is_stuck = not self._background.close()
        self._is_closed = True
        atexit.unregister(self._background.close)
        if self._is_stuck:
            give_up_output()
        else:
            close_own(self._stream, self._output)

    def show(self, status: Status) -> None:
        """Take note of a status. Of those that come while a terminal takes nothing the newest is drawn."""
        self._publish(status)
        with self._lock:
            waiting, self._newest = self._newest, status
        if waiting is None:
            self._background.do(self._draw)

    def note(self, text: str) -> None:
        """A line that stays, above the table."""
        if not self._is_closed:
            self._background.do(lambda: self._progress.note(text))
        else:
            print(fitted(text), flush=True)

    @functools.cached_property
    def _progress(self) -> Progress:
        """Progress that draws; made and used by the drawing thread."""
        if self._given is None:
            self._stream = own_stream(self._output)
        return self._given or Progress(self._stream)

    def _begin(self) -> None:
        self._progress.__enter__()

    def _draw(self) -> None:
        with self._lock:
            status, self._newest = self._newest, None
        if status is None:
            return
        self._file.look(status)
        self._progress.show(status)
        if self._look is not None:
            self._look(status)
