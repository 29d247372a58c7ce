"""Gaussian of a policy's last layer, and the gradient back to its outputs. Knows PyTorch; knows no layers.

    mean    = u, or mean_scale * tanh(u)
    std     = exp(log_std), the same in every state, or softplus(x) + std_floor

where u, or u and x side by side, are the outputs. The way back is written out for `gradients_analytic`.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dppo.learner.models.distributions import Gaussian

Mean = Literal["linear", "tanh"]
Std = Literal["free", "state"]


@dataclass(frozen=True)
class GaussianHead:
    """Meaning of the outputs."""

    mean: Mean = "linear"
    mean_scale: float = 1.0  # of tanh
    std: Std = "free"
    std_floor: float = 1e-3  # of state

    def outputs(self, actions: int) -> int:
        """Return how many outputs a Gaussian of so many dimensions takes."""
        return 2 * actions if self.std == "state" else actions

    def gaussian(self, outputs: Tensor, log_std: Tensor | None) -> Gaussian:
        """The Gaussian of outputs [N, self.outputs(a)]; log_std [a] where std is free."""
        if log_std is not None:
            return Gaussian(self._mean(outputs), log_std)
        u, x = outputs.chunk(2, -1)
        return Gaussian(self._mean(u), (torch.nn.functional.softplus(x) + self.std_floor).log())

    def starting_bias(self, log_std: float) -> float:
        """The x that gives this std. Raises ValueError where the floor is above it."""
        above = math.exp(log_std) - self.std_floor
        if above <= 0:
            raise ValueError(f"a std of {math.exp(log_std)} is not above std_floor={self.std_floor}")
        return above + math.log(-math.expm1(-above))  # log(exp(above) - 1), without the overflow

    def mean_slope(self, slope: Tensor, mean: Tensor) -> Tensor:
        """Map d loss / d mean [n, a] to d loss / d u, in place: times scale (1 - tanh^2) = scale - mean^2 / scale."""
        if self.mean == "linear":
            return slope
        return slope.mul_(mean.square().mul_(-1.0 / self.mean_scale).add_(self.mean_scale))

    def std_slope(self, slope: Tensor, std: Tensor) -> Tensor:
        """Map d loss / d log std [n, a] to d loss / d x, in place: times sigmoid(x) / std, where sigmoid(x) is
        1 - exp(-softplus(x)).
        """
        return slope.mul_((self.std_floor - std).expm1_().neg_()).div_(std)

    def _mean(self, u: Tensor) -> Tensor:
        return u if self.mean == "linear" else self.mean_scale * u.tanh()
