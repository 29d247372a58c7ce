"""Room that this machine has for our processes, and how many fit. Knows /proc, cgroups and limits; starts nothing.

Estimates: an actor takes about 60 MB of its own (measured on Linux with CartPole-v1: 57 MB), and what its environments
take besides is not known before the first one runs.
"""

import contextlib
import math
import os
import resource
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from dppo.protocol.transport.fd_limits import actors_that_fit

MB = 10**6
ACTOR_BYTES = 60 * MB
WORKER_BYTES = 45 * MB  # a process of an asynchronous vector: Python, numpy, gymnasium
RESERVE_BYTES = 500 * MB  # for the learner, and so that others need not be killed
ACTOR_THREADS = 8  # libzmq's, the watchdog's, onnxruntime's
RESERVE_THREADS = 64
PLENTY = 2**62


@dataclass(frozen=True)
class Room:
    """Memory, threads and open files that are left."""

    memory_bytes: int = PLENTY
    threads: int = PLENTY  # processes count as one or more
    files: int = PLENTY  # that one process may have open


def room() -> Room:
    """Return what this machine, and the container around this process, has left."""
    return Room(available_bytes(), _threads(), _files())


def available_bytes() -> int:
    """Return how much memory may be taken before the system kills a process for it."""
    found = [PLENTY]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    for group in _groups():
        for most, current in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, used = _number(group / most), _number(group / current)
            if limit is not None and used is not None and limit < PLENTY:
                found.append(limit - used + _file_pages(group))
    return max(0, min(found))


def lack(actors: int, workers: int, left: Room) -> str:
    """Return what the machine has too little of for so many actors with so many worker processes each; "" for nothing.

    The text names the numbers, and how many actors would fit.
    """
    bytes_each, threads_each = _each(workers)
    fit = _fit(workers, left)
    short = min(fit, key=lambda name: fit[name])
    if actors <= fit[short]:
        return ""
    each = f"with {workers} environment processes each " if workers else ""
    memory, threads = actors * bytes_each + RESERVE_BYTES, actors * threads_each + RESERVE_THREADS
    needs = {
        "memory": f"about {memory // MB:,} MB of memory, their environments not counted, "
        f"and {left.memory_bytes // MB:,} MB are available",
        "threads": f"about {threads:,} processes and threads, and {left.threads:,} more may be started here "
        "(ulimit -u, pids.max)",
        "files": f"more connections than the {left.files:,} files that a process may open here (ulimit -n)",
    }
    who = f"{actors:,} actors {each}need" if actors != 1 else f"1 actor {each}needs"
    return f"{who} {needs[short]}: at most {max(0, fit[short]):,} fit"


def most_actors(left: Room) -> int:
    """Return how many actors fit, their environments in the same process."""
    return max(0, min(_fit(0, left).values()))


def usable_cores() -> int:
    """Return the cores that this process may use, by its affinity and by the CPU time that its container gets."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(granted) for granted in _granted_cores())]))


def _each(workers: int) -> tuple[int, int]:
    """Return bytes and threads of an actor."""
    return ACTOR_BYTES + workers * WORKER_BYTES, ACTOR_THREADS + workers


def _fit(workers: int, left: Room) -> dict[str, int]:
    """Return how many actors fit by each resource."""
    bytes_each, threads_each = _each(workers)
    return {
        "memory": (left.memory_bytes - RESERVE_BYTES) // bytes_each,
        "threads": (left.threads - RESERVE_THREADS) // threads_each,
        "files": actors_that_fit(left.files),
    }


def _granted_cores() -> Iterator[float]:
    """Return the limits of CPU time of the cgroups around this process, in cores."""
    for group in _groups({"cpu"}):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text().split()  # "max" is no number
            yield int(quota) / int(period)
        quota_us, period_us = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if quota_us is not None and quota_us > 0 and period_us:
            yield quota_us / period_us


def _files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if hard == resource.RLIM_INFINITY else hard


def _threads() -> int:
    found = [PLENTY]
    for name in ("pid_max", "threads-max"):
        limit = _number(Path("/proc/sys/kernel") / name)
        if limit is not None:
            found.append(limit - _running())
    for group in _groups():
        limit, used = _number(group / "pids.max"), _number(group / "pids.current")
        if limit is not None and used is not None:
            found.append(limit - used)
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:  # root is not held to it
        found.append(soft - _running())
    return max(0, min(found))


def _running() -> int:
    """Return the threads of this machine; of the user alone would need a look at every process."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    return 0


def _groups(wanted: Set[str] = frozenset({"memory", "pids"})) -> Iterator[Path]:
    """Return the cgroups around this process, the innermost first; wanted: of these controllers, where they differ."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers and not wanted & set(controllers.split(",")):
                continue
            for kind in controllers.split(",") if controllers else [""]:
                root = Path("/sys/fs/cgroup") / kind
                inner = root / name.lstrip("/")
                yield from (path for path in (inner, *inner.parents) if path.is_relative_to(root) and path.is_dir())


def _number(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None  # no such file, or "max"


def _file_pages(group: Path) -> int:
    """Return what a cgroup's memory holds of files and would give back."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (group / "memory.stat").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("inactive_file ")))
    return 0
