"""Resources of a process over time: memory, file descriptors, threads; and the straight line through samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Sample:
    """One look at one process."""

    at: float  # monotonic seconds
    pid: int
    memory_bytes: int  # PSS; RSS where the system does not count it
    descriptors: int
    threads: int


def sample(pid: int, now: float) -> Sample | None:
    """Look at a process; None where it is gone."""
    try:
        process = psutil.Process(pid)
        memory = process.memory_full_info()
        pss = getattr(memory, "pss", memory.rss)
        return Sample(now, pid, pss, process.num_fds(), process.num_threads())
    except psutil.Error:
        return None


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares: by how much y grows when x grows by 1; 0 for fewer than two different x."""
    count = len(points)
    if count < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread > 0 else 0.0


def megabytes_per_minute(samples: Sequence[Sample]) -> float:
    """Growth of memory: slope of the line through the samples."""
    return slope([(s.at / 60, s.memory_bytes / 1e6) for s in samples])
