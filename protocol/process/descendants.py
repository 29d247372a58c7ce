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
from collections.abc import Callable, Collection

MARK_VARIABLE = "_DPPO_STARTED_BY"  # not DPPO_: no setting
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
LOOKS = 20
LOOK_SECONDS = 0.05
TRACKER_LOOKS = 10  # of them, in which multiprocessing's resource trackers may end by themselves
TRACKER = b"multiprocessing.resource_tracker"  # as in sweeper.py


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
    """Return the processes whose mark begins with this one, whatever their parent. Linux only, elsewhere none."""
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


def kill_group(leader: int) -> None:
    """End the process group of this leader, resource trackers left out (see `_end`; `kill_started_by` finds them)."""
    if sys.platform != "linux":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        return
    killed: set[int] = set()
    while new := {pid for pid in _group(leader) - killed if not is_tracker(pid)}:  # a process may fork meanwhile
        kill(new)
        killed |= new


def kill_started_by(mark: str) -> None:
    """End everything that carries the mark: what one child, which is over, has started."""
    _end(lambda: marked(mark))


def kill_started(mark: str, without: Collection[int] = ()) -> None:
    """End everything that carries the mark, and every other descendant of this process, except `without`.

    Returns when they are gone, within about a second. The resource tracker of this process stays as long as it does:
    semaphores that it has yet to give back would not be known to another one.
    """
    spared = {*without, *_own_tracker()}
    _end(lambda: (marked(mark) | descendants(os.getpid(), spared)) - spared)


def _end(find: Callable[[], set[int]]) -> None:
    """Kill what is found until nothing is; what is killed may have started another in that moment.

    A resource tracker ends with the last process that it works for, and then removes the semaphores and the shared
    memory that are left of them. Killed, it would leave them to the machine for ever: that comes last.
    """
    for look in range(LOOKS):
        alive = {pid for pid in find() if not is_over(pid)}
        if not alive:
            return
        kill({pid for pid in alive if look >= TRACKER_LOOKS or not is_tracker(pid)})
        time.sleep(LOOK_SECONDS)


def _own_tracker() -> set[int]:
    module = sys.modules.get("multiprocessing.resource_tracker")
    pid = getattr(getattr(module, "_resource_tracker", None), "_pid", None)
    return set() if pid is None else {pid}


def is_tracker(pid: int) -> bool:
    """Whether it is a resource tracker of multiprocessing. Linux only, elsewhere False."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return TRACKER in file.read()
    return False


def reap(known: Collection[int]) -> None:
    """Take note of the end of adopted children, which no other code waits for. known: children that are waited for."""
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


def _group(leader: int) -> set[int]:
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(int(name)) == leader and not is_over(int(name)):
                    found.add(int(name))
    return found


def _children_by_psutil(pid: int) -> set[int]:
    import psutil

    with contextlib.suppress(psutil.Error):
        return {child.pid for child in psutil.Process(pid).children()}
    return set()
