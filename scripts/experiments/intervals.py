"""Means over seeds with bootstrap intervals. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 10_000


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean over seeds, its 95 % percentile bootstrap interval, and the values."""
    array = np.asarray(values, np.float64)
    means = np.random.default_rng(1).choice(array, (RESAMPLES, len(array))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return {"mean": float(array.mean()), "low": float(low), "high": float(high), "seeds": [float(x) for x in array]}


def text_of(found: dict[str, Any], digits: int = 3) -> str:
    """One cell of a table: mean and interval."""
    return f"{found['mean']:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"
