"""Ports for processes that listen, of a range from which no kernel takes those of connections: none is gone again."""

import itertools
import os
import socket

FIRST, LAST = 20_000, 32_000
OF_A_PROCESS = 100  # one after the other: processes that look at the same moment find different ones

_count = itertools.count()


def free_port(following: int = 0) -> int:
    """Return a port of this host that is free, as are that many which follow it. Raises OSError where there is none."""
    slots = (LAST - FIRST) // OF_A_PROCESS
    first = FIRST + os.getpid() % slots * OF_A_PROCESS
    for _ in range(OF_A_PROCESS):
        port = first + next(_count) % OF_A_PROCESS
        if all(_is_free(each) for each in range(port, port + 1 + following)):
            for _ in range(following):
                next(_count)
            return port
    raise OSError(f"none of the ports {first} to {first + OF_A_PROCESS - 1} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
