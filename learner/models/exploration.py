"""Exploration that depends on the state (gSDE): noise for some steps at a time. Knows PyTorch; knows no network.

    a = mean(s) + sum over i of f_i(s) std_ij e_ij,  e ~ N(0, 1)

where f are the outputs of the last hidden layer and a 1 behind them, over the root of their number (Raffin et al. 2021,
arXiv 2005.05719, who have no 1). An actor holds the matrix e for some steps: so long the action is a smooth function of
the state, and a robot does not shake. In each state the action is Gaussian, with the variance sum of (f_i std_ij)^2:
log-probs, entropies and KLs are those of this Gaussian, exactly. That actions of the steps between are correlated is
left out of them, as in the paper.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dppo.learner.models.distributions import Distribution, Gaussian, Joint
from dppo.learner.models.squashed_gaussian import SquashedGaussian


class Exploring(NamedTuple):
    """A Gaussian, squashed or not, whose noise is a function of the state."""

    numbers: Gaussian | SquashedGaussian  # in each state: of n dimensions
    directions: Tensor  # f [N, h]
    std: Tensor  # [h, n]
    size: tuple[int, int]  # h, n; a shape would be an operation of the exported graph

    @property
    def gaussian(self) -> Gaussian:
        """Before a tanh, where one follows."""
        return self.numbers.gaussian if isinstance(self.numbers, SquashedGaussian) else self.numbers

    def sample(self, noise: Tensor) -> Tensor:
        """The action [N, n], before a tanh; noise [N, h n] is standard normal, or 0 for the mode."""
        weighted = self.std * noise.reshape(-1, *self.size)
        moved = torch.matmul(self.directions.unsqueeze(1), weighted).squeeze(1)
        return self.gaussian.mean + moved

    def log_prob(self, action: Tensor) -> Tensor:
        """[N] of action [N, n]."""
        return self.numbers.log_prob(action)

    def entropy(self) -> Tensor:
        """[N]."""
        return self.numbers.entropy()

    def kl_from(self, old: "Exploring") -> Tensor:
        """KL(old || self), [N]."""
        return self.gaussian.kl_from(old.gaussian)

    def rows(self) -> Tensor:
        """Return the Gaussians as one tensor with a row for each of N, [N, 2 n]: what `of_rows` takes."""
        return self.numbers.rows()

    def of_rows(self, rows: Tensor) -> "Exploring":
        """The distribution whose `rows()` these are, or a part of them, but for `sample`: it has this one's noise."""
        return self._replace(numbers=self.numbers.of_rows(rows))

    def terms(self, action: Tensor) -> Tensor:
        """[N]: those of the Gaussian."""
        return self.numbers.terms(action)


def gaussian_of(distribution: Distribution) -> Gaussian | None:
    """The Gaussian of a distribution's numbers, before a tanh where one follows; None where they have none."""
    numbers = distribution.numbers if isinstance(distribution, Joint) else distribution
    numbers = numbers.gaussian if isinstance(numbers, Exploring | SquashedGaussian) else numbers
    return numbers if isinstance(numbers, Gaussian) else None


def directions_of(hidden: Tensor) -> Tensor:
    """F [N, h] of the last hidden layer's outputs [N, h - 1]; the losses of exploration do not train that layer."""
    one = torch.ones_like(hidden[:, :1])
    beside = torch.cat([hidden.detach(), one], 1)
    return beside / math.sqrt(beside.shape[1])


def log_std_of(directions: Tensor, log_std: Tensor) -> Tensor:
    """Log of the std of each number in each state, [N, n], of f [N, h] and log std [h, n]."""
    return 0.5 * (directions.square() @ (2.0 * log_std).exp()).log()
