"""Heartbeats of an actor, for the sweeper of its process tree: its interpreter is not held. Knows a pipe."""

import contextlib
import os
import select
from collections.abc import Mapping

from dppo.protocol.process.household import sweeper_fd

HEARTBEAT_VARIABLE = "_DPPO_HEARTBEAT_FD"  # of an actor whose parent has the sweeper; not DPPO_: no setting


def with_heartbeat(variables: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[int, ...]]:
    """Return variables and descriptors of a child that is an actor, by which it reaches our sweeper, too."""
    fd = sweeper_fd()
    return (variables, ()) if fd is None else ({**variables, HEARTBEAT_VARIABLE: str(fd)}, (fd,))


class Heartbeat:
    """Made once a process."""

    def __init__(self) -> None:
        inherited = os.environ.pop(HEARTBEAT_VARIABLE, "")  # popped: a child of ours does not have this pipe
        self._fd = int(inherited) if inherited else sweeper_fd()
        if inherited:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(inherited), False)

    def beat(self, limit_seconds: float | None, *, told: bool, signals_fd: int) -> bool:
        """Report to the sweeper that threads can run. Return whether there is one, and it listens.

        limit_seconds: silence after which it is to kill this process, 0: none, None: it is to judge this process no
        more; told: to end, after which seconds of silence are enough; signals_fd: the reading end of the pipe in which
        signals are noted. Never blocks.
        """
        if self._fd is None:
            return False
        limit = -1.0 if limit_seconds is None else limit_seconds
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        try:
            if not poll.poll(0):
                return False  # full: no process reads
            os.write(self._fd, b"beat %d %g %d %d\n" % (os.getpid(), limit, told, signals_fd))
        except OSError:
            self._fd = None  # the sweeper is gone
            return False
        return True
