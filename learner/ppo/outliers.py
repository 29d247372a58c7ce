"""Numbers that are absurdly far from all others: how far training believes them, and where they came from.

A simulator that glitches once (an observation of 1e6, a reward of 1e9) must not ruin a run's moments, whose memory is
the whole run. So samples are clipped to DEVIATIONS standard deviations before they are merged. A real shift is
followed all the same: each batch of samples at the limit widens the moments, and the limit with them, several times.
Knows numpy only.
"""

from typing import NamedTuple

import numpy as np

from dppo.learner.ppo.reduce import Reduce
from dppo.learner.ppo.running_moments import RunningMoments

DEVIATIONS = 20.0  # from here on samples are clipped before they are merged
FIRST_DEVIATIONS = 50.0  # the same in units of FIRST_SHARE's deviation, while nothing is known
FIRST_SHARE = 200  # the first batch's scale is the deviation that 1 of so many samples exceeds
ABSURD_DEVIATIONS = 1000.0  # from here on a sample is reported
NARROW = 64  # elements of a sample below which its columns are looked at one by one
RARE_SHARE = 0.1  # of a batch's samples; what is more frequent is not an outlier but how the environment is
FLAT = 1e-6  # a std below this part of the mean is none: what never changed has no scale of its own


Extremes = tuple[np.ndarray, np.ndarray]  # least and greatest of samples, [*shape] each


class Scale(NamedTuple):
    """Center and deviation that samples are compared with before they are merged."""

    center: np.ndarray  # [*shape] float64
    deviation: np.ndarray  # [*shape] float64, above 0
    believed: float  # how many of them training follows

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value that training follows, [*shape] each."""
        width = self.believed * self.deviation
        return self.center - width, self.center + width


class Outlier(NamedTuple):
    """A sample beyond ABSURD_DEVIATIONS."""

    row: int
    element: int  # of a flattened sample
    value: float
    deviations: float


def scale_of(moments: RunningMoments, samples: np.ndarray) -> Scale:
    """The scale of samples [n, *shape] that are not in `moments` yet: that of all before, or their own if first.

    Their own is robust: the median, and the deviation that one in FIRST_SHARE exceeds. What has never changed has no
    scale; there 1, or its magnitude where that is larger, stands for it.
    """
    if moments.count or not len(samples):
        center, deviation, believed = moments.mean, np.sqrt(moments.variance), DEVIATIONS
    else:
        samples = np.asarray(samples, np.float64)
        center, believed = np.median(samples, axis=0), FIRST_DEVIATIONS
        rank = max(0, len(samples) - 1 - max(1, len(samples) // FIRST_SHARE))
        deviation = np.partition(np.abs(samples - center), rank, axis=0)[rank]
    magnitude = np.abs(center)
    flat = deviation <= FLAT * magnitude
    return Scale(center, np.where(flat, np.maximum(1.0, magnitude), deviation), believed)


def merge_clipped(
    moments: RunningMoments,
    samples: np.ndarray,
    scale: Scale,
    reduce: Reduce | None = None,
    extremes: Extremes | None = None,
) -> None:
    """Merge samples [n, *shape], each clipped to what is believed, and those of all other ranks.

    extremes: of the samples, where they are known.
    """
    if len(samples):
        low, high = scale.limits()
        least, most = extremes or extremes_of(samples)
        if (least < low).any() or (most > high).any():
            samples = np.clip(np.asarray(samples, np.float64), low, high)
    moments.update(samples, reduce)


def outliers_of(samples: np.ndarray, scale: Scale, extremes: Extremes | None = None) -> list[Outlier]:
    """All of samples [n, f] that are absurd and rare, the worst first. scale: of shape [f], or [] where f is 1.

    extremes: of the samples, where they are known.
    """
    center, deviation = np.atleast_1d(scale.center, scale.deviation)
    low, high = center - ABSURD_DEVIATIONS * deviation, center + ABSURD_DEVIATIONS * deviation
    if not len(samples):
        return []
    least, most = extremes or extremes_of(samples)
    if not ((least < low).any() or (most > high).any()):
        return []
    wide = np.asarray(samples, np.float64)
    far = (wide < low) | (wide > high)
    far &= far.sum(axis=0) <= max(1.0, RARE_SHARE * len(samples))
    rows, elements = np.nonzero(far)
    values = wide[rows, elements]
    deviations = np.abs(values - center[elements]) / deviation[elements]
    found = [
        Outlier(int(row), int(element), float(value), float(distance))
        for row, element, value, distance in zip(rows, elements, values, deviations, strict=True)
    ]
    return sorted(found, key=lambda outlier: -outlier.deviations)


def extremes_of(samples: np.ndarray) -> Extremes:
    """Least and greatest of samples [n, *shape], at least one; [*shape] each.

    NumPy reduces the long axis of narrow rows without vector instructions: 16,384 x 4 take 970 us, turned around 60.
    """
    if samples.ndim == 2 and samples.shape[1] < NARROW:
        columns = np.ascontiguousarray(samples.T)
        return columns.min(axis=1), columns.max(axis=1)
    return samples.min(axis=0), samples.max(axis=0)
