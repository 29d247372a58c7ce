"""Action distributions: their protocol, and four of them, as functions of tensors. Knows PyTorch; knows no network.

Written out instead of taken from torch.distributions, whose checks and object layers cost more than the arithmetic of
a small minibatch. Under a mask they are those of the legal choices (`masking`). A further distribution is one more
record with these methods; nothing else asks which one it is, but for gradients written out by hand.
"""

import math
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)

LARGEST_LOGIT = 1e4
# logit of a choice that an element lacks, log-prob of one that a mask forbids: its probability is exactly 0, and its
# products are finite
PADDING = -1e9


class Distribution(Protocol):
    """A record of tensors with a row for each of N observations, or with what is the same for all of them."""

    def sample(self, noise: Tensor) -> Tensor:
        """Actions [N, ...] from noise [N, n] of the policy's kind; noise 0 gives the deterministic action."""

    def log_prob(self, action: Tensor) -> Tensor:
        """[N] of action [N, ...], joint over all dimensions."""

    def entropy(self) -> Tensor:
        """[N], or [] where it is the same in every state."""

    def kl_from(self, old: Self) -> Tensor:
        """KL(old || self), [N]; of the same kind as this one."""

    def rows(self) -> Tensor:
        """Return all of it as one tensor with a row for each of N, [N, k]: what `of_rows` takes."""

    def of_rows(self, rows: Tensor) -> Self:
        """The distribution whose `rows()` these are, or a part of them. A class method in records."""

    def terms(self, action: Tensor) -> Tensor:
        """Size of the terms that the log-prob of action [N, ...] is summed from, [N]: rounding is in proportion."""


class Gaussian(NamedTuple):
    """Independent normal distributions, one a dimension."""

    mean: Tensor  # [N, n]
    log_std: Tensor  # [n], the same in every state; [N, n] works too

    def sample(self, noise: Tensor) -> Tensor:
        """The action mean + std * noise, [N, n]; noise [N, n] is standard normal, or 0 for the mode."""
        return self.mean + self.log_std.exp() * noise

    def log_prob(self, action: Tensor) -> Tensor:
        """[N] of action [N, n]: sum over dimensions of -((a - mean) / std)^2 / 2 - log std - log(2 pi) / 2."""
        deviation = (action - self.mean) * (-self.log_std).exp()
        return (-0.5 * deviation.square() - (self.log_std + HALF_LOG_TWO_PI)).sum(-1)

    def entropy(self) -> Tensor:
        """[N], or [] where log_std is the same in every state: sum over dimensions of log std + (1 + log 2 pi) / 2."""
        return (self.log_std + (0.5 + HALF_LOG_TWO_PI)).sum(-1)

    def kl_from(self, old: "Gaussian") -> Tensor:
        """KL(old || self), [N]: sum of log(s / s_old) + (s_old^2 + (m_old - m)^2) / (2 s^2) - 1/2."""
        precision = (-2 * self.log_std).exp()
        spread = (2 * old.log_std).exp() + (old.mean - self.mean).square()
        return (self.log_std - old.log_std + 0.5 * spread * precision - 0.5).sum(-1)

    def terms(self, action: Tensor) -> Tensor:
        """[N]. A mean is known to a few units in its last place (and in that of the terms it is summed from, of order
        1), so z = (a - mean) / std to those over std, and z^2 / 2 to z times that.
        """
        precision = (-self.log_std).exp()
        z = ((action - self.mean) * precision).abs()
        of_mean = z * (1 + self.mean.abs() + action.abs()) * precision
        return (of_mean + 0.5 * z.square() + self.log_std.abs() + 1).sum(-1)

    def rows(self) -> Tensor:
        """Return all of it as one tensor with a row for each of N, [N, 2 n]: what `of_rows` takes."""
        return torch.cat([self.mean, self.log_std.expand_as(self.mean)], -1)

    @classmethod
    def of_rows(cls, rows: Tensor) -> "Gaussian":
        """The distribution whose `rows()` these are, or a part of them."""
        return cls(*rows.chunk(2, -1))


class Categorical(NamedTuple):
    """One of k choices."""

    log_probs: Tensor  # [N, k], normalised; of forbidden choices PADDING

    def sample(self, noise: Tensor) -> Tensor:
        """The action argmax(log_probs + noise), [N] int64; noise [N, k] is standard Gumbel, or 0 for the mode."""
        return (self.log_probs + noise).argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """[N] of action [N] int64, which counts from 0."""
        return self.log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """[N]: -sum of p log p. A choice of probability 0 adds 0."""
        return -(self.log_probs.exp() * self.log_probs.clamp_min(torch.finfo(torch.float32).min)).sum(-1)

    def kl_from(self, old: "Categorical") -> Tensor:
        """KL(old || self), [N]: sum of p_old (log p_old - log p)."""
        return (old.log_probs.exp() * (old.log_probs - self.log_probs)).sum(-1)

    def terms(self, action: Tensor) -> Tensor:
        """[N]: the largest of the log-probs, whichever action it is."""
        sizes = self.log_probs.clamp_min(-LARGEST_LOGIT).abs()
        return torch.where(self.log_probs > PADDING / 2, sizes, 0.0).amax(-1)

    def rows(self) -> Tensor:
        """Return all of it as one tensor with a row for each of N, [N, k]: what `of_rows` takes."""
        return self.log_probs

    @classmethod
    def of_rows(cls, rows: Tensor) -> "Categorical":
        """The distribution whose `rows()` these are, or a part of them."""
        return cls(rows)


class MultiCategorical(NamedTuple):
    """A choice for each of k elements, independent of each other: MultiDiscrete, MultiBinary, several leaves."""

    log_probs: Tensor  # [N, k, m], normalised over m; below PADDING / 2 where a choice is missing or forbidden

    def sample(self, noise: Tensor) -> Tensor:
        """The choices argmax(log_probs + noise), [N, k] int64; noise [N, k m] is standard Gumbel, or 0 for the mode."""
        return (self.log_probs + noise.reshape_as(self.log_probs)).argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """[N] of action [N, k] int64, which counts from 0: the sum over elements."""
        return self.log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1).sum(-1)

    def entropy(self) -> Tensor:
        """[N]: the sum over elements of -sum of p log p."""
        return -(self.log_probs.exp() * self.log_probs.clamp_min(torch.finfo(torch.float32).min)).sum((-2, -1))

    def kl_from(self, old: "MultiCategorical") -> Tensor:
        """KL(old || self), [N]: the sum over elements of sum of p_old (log p_old - log p)."""
        return (old.log_probs.exp() * (old.log_probs - self.log_probs)).sum((-2, -1))

    def terms(self, action: Tensor) -> Tensor:
        """[N]: the sum over elements of the largest of the log-probs, whichever choice it is."""
        sizes = self.log_probs.clamp_min(-LARGEST_LOGIT).abs()
        return torch.where(self.log_probs > PADDING / 2, sizes, 0.0).amax(-1).sum(-1)

    def rows(self) -> Tensor:
        """Return all of it as one tensor with a row for each of N, [N, k m]: what `of_rows` takes."""
        return self.log_probs.flatten(1)

    def of_rows(self, rows: Tensor) -> "MultiCategorical":
        """The distribution whose `rows()` these are, or a part of them; of the same elements as this one."""
        return MultiCategorical(rows.reshape(-1, *self.log_probs.shape[1:]))


class Joint(NamedTuple):
    """Numbers and choices of one action, independent of each other: log-prob, entropy and KL are sums over both."""

    numbers: Distribution  # Gaussian, SquashedGaussian or Beta, of n dimensions
    choices: MultiCategorical  # of k elements with up to m choices
    size: int  # n; a shape would be an operation of the exported graph
    noise: int | None = None  # columns of noise that the numbers take; None: n

    def sample(self, noise: Tensor) -> Tensor:
        """The action [N, n + k] float32, choices behind numbers; noise [N, n + k m], normal and then Gumbel, or 0."""
        first = self.size if self.noise is None else self.noise
        chosen = self.choices.sample(noise[:, first:])
        return torch.cat([self.numbers.sample(noise[:, :first]), chosen.to(torch.float32)], -1)

    def log_prob(self, action: Tensor) -> Tensor:
        """[N] of action [N, n + k]."""
        numbers, choices = self.halves(action)
        return self.numbers.log_prob(numbers) + self.choices.log_prob(choices)

    def entropy(self) -> Tensor:
        """[N]."""
        return self.numbers.entropy() + self.choices.entropy()

    def kl_from(self, old: "Joint") -> Tensor:
        """KL(old || self), [N]."""
        return self.numbers.kl_from(old.numbers) + self.choices.kl_from(old.choices)

    def terms(self, action: Tensor) -> Tensor:
        """[N]."""
        numbers, choices = self.halves(action)
        return self.numbers.terms(numbers) + self.choices.terms(choices)

    def rows(self) -> Tensor:
        """Return all of it as one tensor with a row for each of N, [N, 2 n + k m]: what `of_rows` takes."""
        return torch.cat([self.numbers.rows(), self.choices.rows()], -1)

    def of_rows(self, rows: Tensor) -> "Joint":
        """The distribution whose `rows()` these are, or a part of them; of the same elements as this one."""
        width = 2 * self.size
        numbers, choices = self.numbers.of_rows(rows[:, :width]), self.choices.of_rows(rows[:, width:])
        return self._replace(numbers=numbers, choices=choices)

    def halves(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """(numbers [N, n], choices [N, k] int64) of action [N, n + k]."""
        return action[:, : self.size], action[:, self.size :].to(torch.int64)
