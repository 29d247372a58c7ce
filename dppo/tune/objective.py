"""Numbers by which trials are compared, and whether two sets of them differ by more than luck. Pure."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from dppo.learner.telemetry.json_lines import json_objects

Objective = Literal["final", "best", "area"]
LAST_SHARE = 0.1  # of the steps, over which `final` is a mean
MOST_SPLITS = 20_000  # of two samples that are all tried; more are drawn

Curve = Sequence[tuple[int, float]]  # steps, mean return


def read_curve(metrics: Path) -> list[tuple[int, float]]:
    """Steps and mean returns of a run so far, without updates before the first episode's end."""
    try:
        content = metrics.read_bytes()
    except OSError:
        return []
    return [(int(row["steps"]), float(row["mean_return"])) for row in json_objects(content, ("steps", "mean_return"))]


def value_of(curve: Curve, objective: Objective) -> float:
    """Return the number to be maximised. Raises ValueError where no episode has ended."""
    if not curve:
        raise ValueError("no episode has ended")
    steps, returns = np.array([point[0] for point in curve]), np.array([point[1] for point in curve])
    if objective == "best":
        return float(returns.max())
    if objective == "final":
        return float(returns[steps >= (1 - LAST_SHARE) * steps[-1]].mean())
    widths = np.diff(np.concatenate([[0], steps]))  # what came before a point counts as it
    return float((returns * widths).sum() / steps[-1])


def chance_of_luck(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return p of a permutation test on the means: how often a split by lot differs as much, one-sided."""
    pooled = np.array([*ours, *theirs])
    size, difference = len(ours), np.mean(ours) - np.mean(theirs)
    splits = list(itertools.islice(itertools.combinations(range(len(pooled)), size), MOST_SPLITS + 1))
    if len(splits) > MOST_SPLITS:
        rng = np.random.default_rng(0)
        splits = [tuple(rng.choice(len(pooled), size, replace=False)) for _ in range(MOST_SPLITS)]
    total = pooled.sum()
    sums = np.array([pooled[list(split)].sum() for split in splits])
    means = sums / size - (total - sums) / len(theirs)
    return float(np.mean(means >= difference - 1e-12))
