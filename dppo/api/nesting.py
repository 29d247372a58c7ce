"""Refuse a run within a run: what a run imports must not begin one. Knows our mark on processes; starts none."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from dppo.protocol.errors import UsageError
from dppo.protocol.process.descendants import MARK_VARIABLE

_running: list[int] = []  # threads of this process in which a run trains


def refuse_within_a_run() -> None:
    """Raise UsageError where a run is training or making environments here, which has imported what calls us now.

    A script that names itself as the module of its environment would be run again by each process that makes one.
    """
    if MARK_VARIABLE not in os.environ and threading.get_ident() not in _running:
        return
    frame, caller = sys._getframe(), ""
    while frame.f_back is not None and not caller:
        frame = frame.f_back
        name = str(frame.f_globals.get("__name__", ""))
        caller = "" if name.partition(".")[0] in ("dppo", "contextlib") else name
    raise UsageError(
        f"a run imports {caller or 'a module'} for its environments or hooks, and that calls dppo.train: put the call "
        'under `if __name__ == "__main__":`, or what the run imports into a module of its own'
    )


@contextlib.contextmanager
def marked_as_running() -> Iterator[None]:
    """Have runs refused that are begun inside, in this thread."""
    _running.append(threading.get_ident())
    try:
        yield
    finally:
        _running.pop()
