"""The process that ends what a killed one has left behind: python -I -S sweeper.py FD MARK GRACE_SECONDS.

A program by itself, of the standard library only (it stays as small as Python is). Its parent writes the numbers of
processes that it has forked, which carry no mark, and `end` when that is to happen at once. When the parent is gone
without it, everything marked is ended after the grace.
"""

import contextlib
import os
import select
import signal
import sys
import time

POLL_SECONDS = 0.5
LOOKS = 20
LOOK_SECONDS = 0.1
MARK_VARIABLE = "_DPPO_STARTED_BY"  # as in descendants.py


def main(fd: int, mark: str, grace_seconds: float) -> None:
    """Wait for the parent's end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the parent
    parent = os.getppid()
    grace_seconds = max(grace_seconds, LOOK_SECONDS)
    forked: dict[int, str] = {}  # process -> when it was started, which tells it from a later one of that number
    rest = b""
    while os.getppid() == parent and grace_seconds:
        if not select.select([fd], [], [], POLL_SECONDS)[0]:
            continue
        data = os.read(fd, 65536)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line == b"end":
                grace_seconds = 0.0
                break
            forked[int(line)] = started(int(line))
        if not data:
            time.sleep(LOOK_SECONDS)  # closed: the parent is about to be gone
        forked = {pid: since for pid, since in forked.items() if since and started(pid) == since}
    until = time.monotonic() + grace_seconds
    while left(mark, forked) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    for _ in range(LOOKS):
        pids = left(mark, forked)
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(OSError):
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


def started(pid: int) -> str:
    """Return when it was started, "" where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if state in (b"Z", b"X") else fields[18].decode()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
