"""The process that ends what a killed one has left behind: python -I -S sweeper.py FD MARK GRACE PARENT.

A program by itself, of the standard library only (it stays as small as Python is). Its parent writes the numbers of
processes that it has forked, which carry no mark, and `end` when that is to happen at once. When the parent is gone
without it, everything marked is ended after the grace. Code of a user's may end the parent itself, without a word: the
parent writes `last TEXT` before it runs such code, and that is then written to its standard error.

Actors write heartbeats (heartbeat_pipe.py). An actor without one for as long as a step may take, although it ran,
holds its interpreter: it is ended. No clock inside the actor can tell that from a process that was stopped.
"""

import contextlib
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Callable

POLL_SECONDS = 0.5
READ_BYTES = 65536
LOOKS = 20
LOOK_SECONDS = 0.1
TRACKER_LOOKS = 10  # of them, in which multiprocessing's resource trackers may end by themselves and tidy up
TRACKER = b"multiprocessing.resource_tracker"  # as in descendants.py
MARK_VARIABLE = "_DPPO_STARTED_BY"  # as in descendants.py
MOST_PER_LOOK_SECONDS = 1.0  # of silence: longer ago, and this process was stopped itself
LEAST_HELD_SECONDS = 3.0  # a busy machine keeps threads from running for a second
TOLD_SECONDS = 3.0  # of silence after SIGTERM or SIGINT
STACK_SECONDS = 0.5  # for an actor to write its stack
END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Held:
    """Judges from heartbeats whether an actor's interpreter is held. Reads no clock; knows no processes."""

    def __init__(self) -> None:
        self._limits: dict[int, float] = {}  # process -> how long it may be silent; 0: for ever
        self._told: dict[int, bool] = {}  # whether it knows that it is to end
        self._silent: dict[int, float] = {}  # seconds
        self._silent_told: dict[int, float] = {}  # of them after it was told to end
        self._looked = 0.0

    def beat(self, pid: int, limit_seconds: float, told: bool) -> None:
        """Note a heartbeat."""
        self._limits[pid] = limit_seconds
        self._told[pid] = told
        self._silent[pid] = self._silent_told[pid] = 0.0

    def forget(self, pid: int) -> None:
        """Judge it no more."""
        for known in (self._limits, self._told, self._silent, self._silent_told):
            known.pop(pid, None)

    def look(self, now: float, runs: "Callable[[int], bool]", told: "Callable[[int], bool]") -> "dict[int, str]":
        """Return the actors to end, each with the reason. Call about twice a second.

        runs: whether a process runs, and is not stopped; told: whether a signal to end waits for its interpreter.
        """
        passed = min(now - self._looked, MOST_PER_LOOK_SECONDS)
        self._looked = now
        found: dict[int, str] = {}
        for pid, limit in self._limits.items():
            if not runs(pid):
                continue
            self._silent[pid] += passed
            silent = self._silent[pid]
            if silent > POLL_SECONDS and (self._told[pid] or told(pid)):
                self._told[pid] = True
                self._silent_told[pid] += passed
            if limit > 0 and silent >= max(limit, LEAST_HELD_SECONDS):
                found[pid] = f"environment hung: the interpreter was held for {silent:.0f} s"
            elif self._silent_told[pid] >= TOLD_SECONDS:
                found[pid] = f"told to end, and did not: the interpreter was held for {silent:.0f} s"
        return found


class Actors:
    """The actors that have sent heartbeats."""

    def __init__(self) -> None:
        self._held = Held()
        self._known: dict[int, tuple[str, int]] = {}  # process -> when it was started, end of its pipe of signals
        self._look_at = 0.0

    def beat(self, line: bytes) -> None:
        """Take `beat PID LIMIT_SECONDS TOLD SIGNALS_FD`; a limit below 0: judge it no more."""
        _, pid, limit, told, signals = line.split()
        if float(limit) < 0:
            self._known.pop(int(pid), None)
            self._held.forget(int(pid))
            return
        self._known[int(pid)] = (started(int(pid)), int(signals))
        self._held.beat(int(pid), float(limit), told == b"1")

    def look(self, now: float) -> None:
        """End those whose interpreter is held."""
        if now < self._look_at:
            return
        self._look_at = now + POLL_SECONDS
        for pid, (since, _) in list(self._known.items()):
            if not since or started(pid) != since:
                del self._known[pid]
                self._held.forget(pid)
        for pid, why in self._held.look(now, runs, self._told).items():
            self._held.forget(pid)
            end(pid, why)

    def _told(self, pid: int) -> bool:
        """Whether Python's handler in C has noted a signal to end that its interpreter has not read."""
        path = f"/proc/{pid}/fd/{self._known[pid][1]}"
        with contextlib.suppress(OSError):
            if not stat.S_ISFIFO(os.stat(path).st_mode):
                return False  # an environment has closed it, and opened something else
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            try:
                noted = os.read(fd, 4096)
                os.write(fd, noted)  # the actor may still come to it
            finally:
                os.close(fd)
            return any(number in END_SIGNALS for number in noted)
        return False


def end(pid: int, why: str) -> None:
    """Kill the actor; its stack and the reason go to its standard error."""
    log = errors_of(pid)
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGUSR1)  # answered in C (faulthandler)
        time.sleep(STACK_SECONDS)
        os.kill(pid, signal.SIGSTOP)
    if log is not None:
        with contextlib.suppress(OSError):
            # before its end, which its parent sees; last, for the actor would write over it in a file
            os.write(log, f"\ndppo: error: {why}; its stack is above\n".encode())
        os.close(log)
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def errors_of(pid: int) -> "int | None":
    """Open the standard error of a process; None where it is a socket, or closed: there is nowhere to say why."""
    with contextlib.suppress(OSError):
        return os.open(f"/proc/{pid}/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
    return None


class LastWords:
    """Lines to write where the parent ends in the middle of something."""

    def __init__(self) -> None:
        self._text = b""
        self._log: int | None = None

    def keep(self, text: bytes, parent: int) -> None:
        """Remember them, and where to; in place of earlier ones. Empty: none any more."""
        self._close()
        self._text = text
        self._log = errors_of(parent) if text else None

    def write(self) -> None:
        """Write them: the parent is gone."""
        if self._log is not None:
            with contextlib.suppress(OSError):
                os.write(self._log, b"dppo: error: " + self._text + b"\n")
        self._close()  # a reader may wait for the end of the file

    def _close(self) -> None:
        if self._log is not None:
            os.close(self._log)
        self._log = None


def main(fd: int, mark: str, grace_seconds: float, parent: int) -> None:
    """Wait for the end of the process `parent`, which started this one and may be gone by now."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the parent
    grace_seconds = max(grace_seconds, LOOK_SECONDS)
    forked: dict[int, str] = {}  # process -> when it was started, which tells it from a later one of that number
    actors, last_words = Actors(), LastWords()
    rest = b""
    while os.getppid() == parent and grace_seconds:
        readable = select.select([fd], [], [], POLL_SECONDS)[0]
        data = os.read(fd, READ_BYTES) if readable else b""
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line == b"end":
                grace_seconds = 0.0
                break
            if line.startswith(b"beat "):
                actors.beat(line)
                continue
            if line.startswith(b"last "):
                last_words.keep(line[5:], parent)
                continue
            forked[int(line)] = started(int(line))
        if len(data) < READ_BYTES:
            actors.look(time.monotonic())  # else a heartbeat may still wait
        if readable and not data:
            time.sleep(LOOK_SECONDS)  # closed: the parent is about to be gone
        forked = {pid: since for pid, since in forked.items() if since and started(pid) == since}
    if grace_seconds:
        last_words.write()
    until = time.monotonic() + grace_seconds
    while left(mark, forked) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    for look in range(LOOKS):
        pids = left(mark, forked)
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(OSError):
                if look >= TRACKER_LOOKS or not is_tracker(pid):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def left(mark: str, forked: "dict[int, str]") -> "set[int]":
    """Return what is marked and what was forked, as far as it still runs."""
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    found = {pid for pid, since in forked.items() if since and started(pid) == since}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if any(entry.startswith(wanted) for entry in file.read().split(b"\0")) and started(int(name)):
                    found.add(int(name))
    return found


def is_tracker(pid: int) -> bool:
    """Whether it is a resource tracker of multiprocessing, which ends with the last process that it works for."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return TRACKER in file.read()


def started(pid: int) -> str:
    """Return when it was started, "" where it is gone."""
    state, since = status(pid)
    return "" if state in ("Z", "X") else since


def runs(pid: int) -> bool:
    """Whether it is there, and neither stopped nor held by a debugger."""
    return status(pid)[0] not in ("Z", "X", "T", "t", "")


def status(pid: int) -> "tuple[str, str]":
    """Return its state and when it was started, "" each where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return "", ""
    return state.decode(), fields[18].decode()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
