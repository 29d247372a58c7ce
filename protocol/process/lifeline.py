"""End of a child of a local run when its parent ends, however the parent died: no orphans.

The parent keeps the writing end of a pipe open and never writes. The kernel closes it when the parent is gone, even
after SIGKILL, and the child's reading end says so.
"""

import contextlib
import os
import signal
import threading
import time
from types import TracebackType
from typing import Self

LIFELINE_VARIABLE = "DPPO_LIFELINE_FD"  # the child's reading end
GRACE_SECONDS = 20.0  # for a learner to write its checkpoint


class Lifeline:
    """The parent's side, for any number of children. Use as a context manager, or call `close`."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go: every child that still runs gets a signal to end."""
        os.close(self.read_fd)
        os.close(self._write_fd)


_watched = threading.Event()


def has_parent() -> bool:
    """Whether a command of ours waits for the end of this one."""
    return _watched.is_set() or LIFELINE_VARIABLE in os.environ


def watch_parent() -> None:
    """Start watching if a parent gave us a lifeline: at its end we get SIGTERM, and are gone after the grace."""
    fd = os.environ.pop(LIFELINE_VARIABLE, "")  # popped: our own children must not inherit the promise
    if fd:
        _watched.set()
        threading.Thread(target=_watch, args=(int(fd),), name="lifeline", daemon=True).start()


def _watch(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.read(fd, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
