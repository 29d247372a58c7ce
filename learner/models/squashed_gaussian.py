"""A Gaussian behind a tanh: actions within bounds, with their exact log-probability. Knows PyTorch; knows no network.

    u ~ N(mean, std),  action = tanh(u),  log p(action) = log N(u) - sum of log(1 - tanh(u)^2)

over the dimensions that are squashed (Haarnoja et al. 2018, arXiv 1801.01290, appendix C). Stored and trained on is u,
so that nothing has to be inverted near the bounds. Log-probs and entropies are those of the action in -1..1: the
environment's bounds would add a constant.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dppo.learner.models.distributions import Gaussian

POINTS = 32  # of the quadrature


class SquashedGaussian(NamedTuple):
    """Independent normal distributions, one a dimension; a tanh follows in some."""

    gaussian: Gaussian  # of u
    squashed: Tensor  # [n] float32: 1 where a tanh follows, else 0

    def sample(self, noise: Tensor) -> Tensor:
        """The u of an action, mean + std * noise, [N, n]; noise as for a Gaussian."""
        return self.gaussian.sample(noise)

    def log_prob(self, action: Tensor) -> Tensor:
        """[N] of u [N, n]."""
        return self.gaussian.log_prob(action) - (log_derivative(action) * self.squashed).sum(-1)

    def entropy(self) -> Tensor:
        """[N]: that of u plus the mean of log(1 - tanh(u)^2), by Gauss-Hermite quadrature of POINTS points."""
        nodes, weights = (part.to(self.gaussian.mean) for part in _QUADRATURE)
        u = self.gaussian.mean.unsqueeze(-1) + self.gaussian.log_std.exp().unsqueeze(-1) * nodes
        return self.gaussian.entropy() + ((log_derivative(u) * weights).sum(-1) * self.squashed).sum(-1)

    def kl_from(self, old: "SquashedGaussian") -> Tensor:
        """KL(old || self), [N]: that of u, since tanh is one to one."""
        return self.gaussian.kl_from(old.gaussian)

    def rows(self) -> Tensor:
        """Return all of it as one tensor with a row for each of N, [N, 2 n]: what `of_rows` takes."""
        return self.gaussian.rows()

    def of_rows(self, rows: Tensor) -> "SquashedGaussian":
        """The distribution whose `rows()` these are, or a part of them; squashed as this one."""
        return SquashedGaussian(Gaussian.of_rows(rows), self.squashed)

    def terms(self, action: Tensor) -> Tensor:
        """[N]: those of the Gaussian, and log(1 - tanh(u)^2)."""
        return self.gaussian.terms(action) + (log_derivative(action).abs() * self.squashed).sum(-1)


def log_derivative(u: Tensor) -> Tensor:
    """log(1 - tanh(u)^2) without overflow or cancellation: 2 (log 2 - |u| - log(1 + exp(-2 |u|)))."""
    size = u.abs()
    return 2.0 * (math.log(2.0) - size - torch.log1p(torch.exp(-2.0 * size)))


def _quadrature() -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(POINTS)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


_QUADRATURE = _quadrature()
