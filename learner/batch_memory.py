"""Memory that a batch takes in the learner, and memory of the machine. Reads the machine; decides nothing."""

import math
import os
import resource
from collections.abc import Container
from pathlib import Path

from dppo.protocol.specs import Spec

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
FLOAT_COPIES = 2  # of the observations, as the networks take them


def update_bytes(
    spec: Spec, *, batch_steps: int, normalises: bool, images: Container[str] = (), batches: int = 1
) -> int:
    """An estimate of a batch in an update: as received, side by side, as float32, and as float64 for the moments.

    images: names of leaves that stay bytes until a minibatch. batches: of an update, of which the moments see one.
    """
    numbers = sum(leaf.features for leaf in spec.observation if leaf.name not in images)
    received = sum(math.prod(leaf.shape) * _itemsize(leaf.dtype) for leaf in (*spec.given, *spec.action))
    return batch_steps * (batches * (2 * received + numbers * 4 * FLOAT_COPIES) + numbers * 16 * normalises)


def machine_bytes() -> int:
    """Memory of this machine, or of the container that this process runs in."""
    there_is = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit_of_process, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit_of_process != resource.RLIM_INFINITY:
        there_is = min(there_is, limit_of_process)
    for path in CGROUP_LIMITS:
        try:
            limit = Path(path).read_text().strip()
        except OSError:
            continue
        if limit.isdecimal():
            there_is = min(there_is, int(limit))
    return there_is


def too_large(
    spec: Spec,
    *,
    batch_steps: int,
    normalises: bool,
    there_is: int,
    images: Container[str] = (),
    batches: int = 1,
) -> str:
    """A line about a batch that will not fit, "" where it does. images, batches: as in `update_bytes`."""
    needed = update_bytes(spec, batch_steps=batch_steps, normalises=normalises, images=images, batches=batches)
    if needed <= there_is:
        return ""
    fits = max(1, batch_steps * there_is // (2 * needed))
    reused = f" and ppo.reuse={batches} such batches" if batches > 1 else ""
    return (
        f"an update on collect.batch_steps={batch_steps} steps{reused} of these spaces takes about "
        f"{needed / 2**30:.1f} GiB, "
        f"and this machine has {there_is / 2**30:.1f}: with {fits} steps it fits"
    )


def _itemsize(dtype: str) -> int:
    return int(dtype[2:])
