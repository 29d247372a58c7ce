"""Beta distributions for numbers with both bounds: density, sampling and KL are within them. Knows PyTorch, no network.

    x ~ Beta(alpha, beta) with alpha, beta >= 1, so that the density has one peak (Chou et al. 2017)
    y = log x - log(1 - x),  log p(x) = (alpha - 1) log x + (beta - 1) log(1 - x) - log B(alpha, beta)

Stored and trained on is y, so that nothing is lost near the bounds. Log-probs and entropies are those of x in 0..1: the
environment's bounds would add a constant.

A sample is a ratio of Gamma variables, x = g / (g + h), by Marsaglia and Tsang 2000 ("A simple method for generating
gamma variables", ACM TOMS 26): a try d (1 + z / sqrt(9 d))^3 with d = alpha - 1/3 and z normal is rejected with
probability below 0.05, and a graph has no loop. So the noise holds TRIES tries, and the first is taken where all are
rejected: 1.5e-8 of the samples, fewer than the rounding of float32 misplaces.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from dppo.learner.models.distributions import HALF_LOG_TWO_PI

TRIES = 6
NOISE = (2 * TRIES, 2 * TRIES)  # normal and Gumbel numbers for each number of an action

# (log Gamma(x) - Stirling's formula) x as a polynomial of 1 / x for x >= 1, fitted: 3e-9 off at most
_STIRLING = (
    0.08333333418805142,
    -1.8223955778553407e-07,
    -0.0027725245762340173,
    -5.343459392500921e-05,
    0.0010496380911129129,
    -0.0006336787229237321,
    0.00013831774187365948,
)


class Beta(NamedTuple):
    """Independent Beta distributions, one a dimension."""

    alpha: Tensor  # [N, n], at least 1
    beta: Tensor  # [N, n], at least 1
    size: int  # n; a shape would be an operation of the exported graph

    def sample(self, noise: Tensor) -> Tensor:
        """The y of an action, [N, n]; noise [N, 4 TRIES n], normal and then Gumbel numbers.

        Noise 0 gives x = (alpha - 1/3) / (alpha + beta - 2/3), which is close to the median.
        """
        normal, gumbel = (part.reshape(-1, self.size, 2, TRIES) for part in noise.chunk(2, -1))
        d = torch.stack([self.alpha, self.beta], -1).unsqueeze(-1) - 1.0 / 3.0
        root = 1.0 + normal * (9.0 * d).rsqrt()  # the cube root of a try's size, in units of d
        is_positive = root > 0
        log_size = 3.0 * torch.where(is_positive, root, 1.0).log()
        least = 0.5 * normal.square() + d * (1.0 - log_size.exp() + log_size)  # of the log of a uniform number
        is_taken = is_positive & (-(-gumbel).exp() < least)
        first = is_taken.float().argmax(-1, keepdim=True)
        log_gamma = (d.log() + log_size.gather(-1, first)).squeeze(-1)
        log_first, log_second = log_gamma.unbind(-1)
        return log_first - log_second

    def log_prob(self, action: Tensor) -> Tensor:
        """[N] of y [N, n], in the units of x."""
        of_x = (1.0 - self.alpha) * softplus(-action) + (1.0 - self.beta) * softplus(action)
        return (of_x - log_beta(self.alpha, self.beta)).sum(-1)

    def entropy(self) -> Tensor:
        """[N]: sum of log B(a, b) - (a - 1) psi(a) - (b - 1) psi(b) + (a + b - 2) psi(a + b)."""
        total = self.alpha + self.beta
        own = (1.0 - self.alpha) * self.alpha.digamma() + (1.0 - self.beta) * self.beta.digamma()
        return (log_beta(self.alpha, self.beta) + own + (total - 2.0) * total.digamma()).sum(-1)

    def kl_from(self, old: "Beta") -> Tensor:
        """KL(old || self), [N]: sum of log B(a, b) - log B(a', b') + (a' - a) psi(a') + (b' - b) psi(b') - (a' - a + b'
        - b) psi(a' + b'), of old a', b'.
        """
        less, of_less = old.alpha - self.alpha, old.beta - self.beta
        moved = less * old.alpha.digamma() + of_less * old.beta.digamma()
        moved = moved - (less + of_less) * (old.alpha + old.beta).digamma()
        return (log_beta(self.alpha, self.beta) - log_beta(old.alpha, old.beta) + moved).sum(-1)

    def rows(self) -> Tensor:
        """Return all of it as one tensor with a row for each of N, [N, 2 n]: what `of_rows` takes."""
        return torch.cat([self.alpha, self.beta], -1)

    def of_rows(self, rows: Tensor) -> "Beta":
        """The distribution whose `rows()` these are, or a part of them."""
        alpha, beta = rows.chunk(2, -1)
        return Beta(alpha, beta, self.size)

    def terms(self, action: Tensor) -> Tensor:
        """[N]: alpha and beta are known to a few units in their last place, and multiply logarithms."""
        total = self.alpha + self.beta
        of_alpha = self.alpha * (1.0 + softplus(-action) + (total / self.alpha).log())
        of_beta = self.beta * (1.0 + softplus(action) + (total / self.beta).log())
        return (of_alpha + of_beta).sum(-1)

    def std(self) -> Tensor:
        """Standard deviations of x, [N, n]."""
        total = self.alpha + self.beta
        return (self.alpha * self.beta / (total + 1.0)).sqrt() / total


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    """Logarithm of the Beta function of a, b >= 1: Stirling's formula with its remainder, since ONNX has no
    lgamma. Its large terms are taken together, so that they do not cancel.
    """
    total = a + b
    remainders = _remainder(torch.stack([a, b, total])).unbind(0)
    large = (a - 0.5) * (a / total).log() + (b - 0.5) * (b / total).log() - 0.5 * total.log()
    return HALF_LOG_TWO_PI + large + remainders[0] + remainders[1] - remainders[2]


def _remainder(x: Tensor) -> Tensor:
    """Return log Gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2) of x >= 1."""
    inverse = x.reciprocal()
    value = _STIRLING[-1] * inverse + _STIRLING[-2]
    for coefficient in reversed(_STIRLING[:-2]):
        value = value * inverse + coefficient
    return value * inverse
