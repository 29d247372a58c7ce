"""SIGTERM and SIGINT as a request to end. The main thread asks between updates; a long update can be cut off."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

UPDATE_SECONDS = 4.0  # that an update may go on for: `docker stop` kills after 10, and a checkpoint takes time too


class Interrupted(Exception):
    """SIGTERM or SIGINT came."""


class Abandoned(Interrupted):
    """A signal came during an update that would have taken too long: the weights are in between."""


class EndSignals:
    """Signals that have come since this was made. For the main thread, as Python handles signals nowhere else."""

    def __init__(self, update_seconds: float = UPDATE_SECONDS) -> None:
        self._update_seconds = update_seconds
        self._count = 0
        self._may_cut = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._came)
        signal.signal(signal.SIGALRM, self._late)

    def __bool__(self) -> bool:
        """Whether one came."""
        return self._count > 0

    def check(self) -> None:
        """Raises Interrupted where one came."""
        if self:
            raise Interrupted

    @contextmanager
    def cutting(self, allowed: bool) -> Iterator[None]:
        """Abandoned is raised in here some seconds after a signal, or with the second one, if that is allowed."""
        self._may_cut = allowed
        try:
            if self:
                self._set_timer()
            yield
        finally:
            self._may_cut = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _came(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            self._late(number, frame)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._may_cut:
            signal.setitimer(signal.ITIMER_REAL, self._update_seconds)

    def _late(self, number: int, frame: FrameType | None) -> None:
        if self._may_cut:
            self._may_cut = False
            raise Abandoned
