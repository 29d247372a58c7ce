"""Processes that this one has started, directly or not, and their end. Knows /proc (elsewhere psutil); starts nothing.

Each process that may start others carries a mark in its environment, which what it starts inherits however it is
started: an orphan, or one in a session of its own, is found by it. A mark begins with that of the process before.
"""

import contextlib
import ctypes
import os
import secrets
import signal
import sys
import time
from collections.abc import Collection

MARK_VARIABLE = "_DPPO_STARTED_BY"  # not DPPO_: no setting
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
LOOKS = 20
LOOK_SECONDS = 0.05


def new_mark() -> str:
    """Return a mark for a process about to be started, or for all that this one starts from now on."""
    return f"{os.environ.get(MARK_VARIABLE, '')}.{secrets.token_hex(6)}"


def become_subreaper() -> None:
    """Adopt what this process's children leave behind, so that it is found, and reaped. On Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def children(pid: int) -> set[int]:
    """Return its direct children, those that have ended and are not reaped included."""
    if sys.platform != "linux":
        return _children_by_psutil(pid)
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                found.update(map(int, file.read().split()))
    return found


def descendants(pid: int, without: Collection[int] = ()) -> set[int]:
    """Return its children, theirs and so on; without these and what is below them."""
    found: set[int] = set()
    new = [pid]
    while new:
        below = children(new.pop()) - found - set(without)
        found |= below
        new += below
    return found


def marked(mark: str) -> set[int]:
    """Return the processes whose mark begins with this one, whoever is their parent. Linux only, elsewhere none."""
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    found: set[int] = set()
    if sys.platform == "linux":
        for name in os.listdir("/proc"):
            if name.isdecimal() and int(name) != os.getpid():
                with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                    if any(entry.startswith(wanted) for entry in file.read().split(b"\0")):
                        found.add(int(name))
    return found


def kill(pids: Collection[int]) -> None:
    """SIGKILL; those that are gone already do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_started_by(mark: str) -> None:
    """End everything that carries the mark: what one child, which is over, has started."""
    for _ in range(LOOKS):
        alive = {pid for pid in marked(mark) if not is_over(pid)}
        if not alive:
            return
        kill(alive)
        time.sleep(LOOK_SECONDS)


def kill_started(mark: str, without: Collection[int] = ()) -> None:
    """End everything that carries the mark, and every other descendant of this process, except `without`.

    Returns when they are gone, within about a second.
    """
    for _ in range(LOOKS):  # what is killed may have started another in that moment
        alive = {pid for pid in (marked(mark) | descendants(os.getpid(), without)) - set(without) if not is_over(pid)}
        if not alive:
            return
        kill(alive)
        time.sleep(LOOK_SECONDS)


def reap(known: Collection[int]) -> None:
    """Take note of the end of adopted children, which nobody else waits for. known: children that somebody does."""
    for pid in children(os.getpid()) - set(known):
        with contextlib.suppress(ChildProcessError):
            if is_over(pid):
                os.waitpid(pid, os.WNOHANG)


def is_over(pid: int) -> bool:
    """Whether the process is gone, or only waits for being reaped."""
    if sys.platform != "linux":
        return not _exists(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _children_by_psutil(pid: int) -> set[int]:
    import psutil

    with contextlib.suppress(psutil.Error):
        return {child.pid for child in psutil.Process(pid).children()}
    return set()
