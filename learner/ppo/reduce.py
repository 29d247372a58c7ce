"""Means over several learners that train one policy. Knows tensors and arrays; knows no network and no processes.

Each rank trains on its own part of a batch. Gradients, moments and every decision by a KL are means over ranks, so all
ranks hold the same weights. One learner is the case of no Reduce, which costs nothing.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Reduce(Protocol):
    """All-reduce among ranks, which make the same calls in the same order. Where one rank raises alone, its supervisor
    must end the others, which wait for it.
    """

    ranks: int
    weight: float  # of this rank's rows: how many they are, over the mean of all ranks

    def mean(self, numbers: Tensor) -> None:
        """Replace numbers, of one shape and dtype on all ranks, by their mean over ranks, in place."""


def mean_over_ranks(reduce: Reduce | None, numbers: Sequence[float]) -> list[float]:
    """Plain numbers, as float64; the same ones where there is no reduce."""
    if reduce is None:
        return list(numbers)
    tensor = torch.tensor(numbers, dtype=torch.float64)
    reduce.mean(tensor)
    means: list[float] = tensor.tolist()
    return means


def weigh(reduce: Reduce | None, rows: int) -> None:
    """Weigh this rank by its rows, above 0, in the means over rows that follow: they are those of one whole batch."""
    if reduce is not None:
        (usual,) = mean_over_ranks(reduce, [rows])
        reduce.weight = rows / usual


def mean_over_rows(reduce: Reduce | None, means: Sequence[float]) -> list[float]:
    """Means over the rows of all ranks, from those over each rank's own; as float64."""
    if reduce is None:
        return list(means)
    return mean_over_ranks(reduce, [reduce.weight * mean for mean in means])


def mean_gradient(reduce: Reduce, gradient: Tensor) -> None:
    """Replace a gradient, of a mean over this rank's rows, by that of the mean over the rows of all ranks."""
    if reduce.weight != 1.0:
        gradient *= reduce.weight
    reduce.mean(gradient)


def over_all_ranks(reduce: Reduce | None, count: int) -> int:
    """Sum of every rank's count."""
    return count if reduce is None else round(mean_over_ranks(reduce, [count])[0] * reduce.ranks)


def on_any_rank(reduce: Reduce | None, flag: bool) -> bool:
    """Whether the flag is set on any rank."""
    return mean_over_ranks(reduce, [float(flag)])[0] > 0.0


def joint_moments(
    reduce: Reduce, count: int, mean: np.ndarray, squares: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """Count, mean and sum of squared deviations of all ranks' samples, from those of each; [*shape] float64."""
    sums = torch.from_numpy(np.concatenate([[count], (count * mean).reshape(-1)]))
    reduce.mean(sums)
    joint = sums[1:].numpy().reshape(mean.shape) / max(float(sums[0]), 1.0 / reduce.ranks)
    own = torch.from_numpy(np.atleast_1d(squares + count * np.square(mean - joint)))
    reduce.mean(own)
    return round(float(sums[0]) * reduce.ranks), joint, own.numpy().reshape(mean.shape) * reduce.ranks


def joint_mean_and_std(reduce: Reduce, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and std, [] each, of all ranks' numbers [n]."""
    wide = numbers.double()
    sums = torch.stack([wide.new_tensor(float(len(wide))), wide.sum()])
    reduce.mean(sums)
    mean = sums[1] / sums[0]
    squares = (wide - mean).square().sum()
    reduce.mean(squares)
    return mean.to(numbers.dtype), (squares / sums[0]).sqrt().to(numbers.dtype)
