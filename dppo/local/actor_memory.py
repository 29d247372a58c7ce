"""Measure the memory of running actors, and decide whether another fits. Knows processes by psutil."""

import functools
from collections.abc import Sequence

from dppo.local.processes import Child
from dppo.protocol.process.resources import ACTOR_BYTES, RESERVE_BYTES, available_bytes

FREE = 8  # so many are started without a look: few enough for any machine that was not refused


def memory_for_another(actors: Sequence[Child], starting: int) -> tuple[bool, int, int]:
    """Return whether one more actor may be started, what one takes, and what is available, in bytes.

    starting: those that have not taken yet what they will.
    """
    if len(actors) < FREE:
        return True, ACTOR_BYTES, available_bytes()
    process = next((child.process for child in actors if child.process is not None), None)
    each = max(ACTOR_BYTES, 0 if process is None else _measured(process.pid))
    available = available_bytes()
    return available - RESERVE_BYTES > each * (starting + 1), each, available


@functools.lru_cache(maxsize=16)
def _measured(pid: int) -> int:
    """Return the unshared bytes of this process and its descendants, measured once; 0 where they cannot be read."""
    import psutil  # not before the first processes are started

    try:
        process = psutil.Process(pid)
        return sum(int(one.memory_full_info().uss) for one in (process, *process.children(recursive=True)))
    except (psutil.Error, AttributeError):
        return 0
