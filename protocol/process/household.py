"""A command that leaves no process behind, however it ends: what runs inside is ended with it. Starts the sweeper."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from dppo.protocol.process.descendants import MARK_VARIABLE, children, kill_started, new_mark

SWEEPER = Path(__file__).with_name("sweeper.py")
_sweeper_fds: list[int] = []  # the pipe to the newest sweeper is the last
_on_fork: list[Callable[[], None]] = []
_handlers: dict[int, Callable[[int, FrameType | None], object]] = {}  # of this process only


@contextlib.contextmanager
def leaves_nothing(grace_seconds: float, *, sweeper: bool) -> Iterator[None]:
    """End, on leaving, everything that was started inside and still runs.

    sweeper: another process does that where this one is killed; after the grace, in which they may end by themselves.
    """
    before = children(os.getpid())  # of the program that became us by exec: not ours
    outer = os.environ.get(MARK_VARIABLE)
    mark = new_mark()
    os.environ[MARK_VARIABLE] = mark
    with contextlib.ExitStack() as stack:
        swept: set[int] = set()
        if sweeper and sys.platform == "linux":
            swept.add(stack.enter_context(_sweeper(mark, grace_seconds)))
        try:
            yield
        finally:
            if outer is None:
                os.environ.pop(MARK_VARIABLE, None)
            else:
                os.environ[MARK_VARIABLE] = outer
            kill_started(mark, before | swept)


def sweeper_fd() -> int | None:
    """Return the writing end of the pipe to the sweeper that this process has started, None without one."""
    return _sweeper_fds[-1] if _sweeper_fds else None


@contextlib.contextmanager
def logged_if_killed(doing: str, advice: str = "") -> Iterator[None]:
    """Have the sweeper, where there is one, log it if this process ends inside, where a user's code runs in it.

    doing: what was broken off, as in "the run". advice: what to do.
    """
    culprits = (
        "by its environment or other code of yours (os._exit, or exit in C code), or from outside (kill -9, out of "
        "memory)"
    )

    def keep(words: str) -> None:
        if (fd := sweeper_fd()) is not None:
            with contextlib.suppress(OSError):
                os.write(fd, b"last %s\n" % words.encode(errors="replace"))

    keep(f"this process was ended in the middle of {doing}, {culprits}{advice and f': {advice}'}")
    try:
        yield
    finally:
        keep("")


@contextlib.contextmanager
def _sweeper(mark: str, grace_seconds: float) -> Iterator[int]:
    """Run it; gives its process id."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SWEEPER), str(reading), mark, str(grace_seconds), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != MARK_VARIABLE},
        pass_fds=(reading,),
        start_new_session=True,
        cwd="/",
    )
    os.close(reading)

    def tell() -> None:
        with contextlib.suppress(OSError):
            os.write(writing, b"%d\n" % os.getpid())
            os.close(writing)  # a fork must not keep it open
        _sweeper_fds.clear()

    _on_fork.append(tell)
    _sweeper_fds.append(writing)
    try:
        yield process.pid
    finally:
        _on_fork.remove(tell)
        _sweeper_fds.remove(writing)
        with contextlib.suppress(OSError):
            os.write(writing, b"end\n")
        os.close(writing)
        process.wait()


def _forked() -> None:
    """In a process that an environment has forked: it is none of ours, and our handlers of signals are not for it."""
    told, _on_fork[:] = list(_on_fork), []
    for tell in told:
        tell()
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)  # its signals are none of its parent's
    for number, handler in _handlers.items():
        if signal.getsignal(number) == handler:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _handlers.clear()


def handle_here_only(number: int, handler: Callable[[int, FrameType | None], object]) -> None:
    """Handle a signal in this process, and not in forks of it: `multiprocessing.Process.terminate` is to end those."""
    signal.signal(number, handler)
    _handlers[number] = handler


os.register_at_fork(after_in_child=_forked)
