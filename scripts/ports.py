"""Ports for processes that listen, of a range from which no kernel takes those of connections: none is gone again."""

import itertools
import os
import socket

FIRST, LAST = 20_000, 32_000
OF_A_PROCESS = 100  # one after the other: processes that look at the same moment find different ones

_given = itertools.count()


def free_port(following: int = 3) -> int:
    """Return a port of this host that is free, as are that many which follow it, for learners listen on several.

    None of them is returned again before all others were. Raises OSError where there is none.
    """
    first = FIRST + os.getpid() % ((LAST - FIRST) // OF_A_PROCESS) * OF_A_PROCESS
    for _ in range(OF_A_PROCESS):
        places = [next(_given) % OF_A_PROCESS for _ in range(1 + following)]
        if places == [*range(places[0], places[0] + 1 + following)] and all(_is_free(first + each) for each in places):
            return first + places[0]
    raise OSError(f"none of the ports {first} to {first + OF_A_PROCESS - 1} is free, with {following} that follow it")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
