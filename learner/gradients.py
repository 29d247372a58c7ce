"""The gradient of PPO's loss on one minibatch. Knows networks and losses; knows no epochs and no optimizer.

    loss = -L^CLIP + value_coefficient * value loss - entropy_coefficient * entropy

This is the way by automatic differentiation, which works for every network; `written_gradients` is the same for
perceptrons, several times faster.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from learner.adam import FlatAdam
from learner.losses import surrogate, value_loss
from learner.networks import CriticNetwork, PolicyNetwork


class Rows(NamedTuple):
    """Steps to train on: a batch, a shuffled epoch or a minibatch of n rows."""

    features: Tensor  # [n, f] encoded observations
    actions: Tensor  # [n, a] float32, or [n] int64
    old_log_probs: Tensor  # [n]
    advantages: Tensor  # [n], normalised
    limits: Tensor  # [n], losses.surrogate_limits of the advantages
    targets: Tensor  # [n], normalised returns


class Outputs(NamedTuple):
    """What the networks said about the rows on the way, written in place so that figures can wait for the epoch."""

    log_probs: Tensor  # [n]
    values: Tensor  # [n], normalised
    entropies: Tensor  # [n]


class Gradients(Protocol):
    """Fills the parameters' gradients (overwriting) and `outputs` from `rows`."""

    def __call__(self, rows: Rows, outputs: Outputs) -> None:
        """Rows and outputs of one minibatch, n each."""


class AutogradGradients:
    """By PyTorch's automatic differentiation."""

    def __init__(
        self,
        policy: PolicyNetwork,
        critic: CriticNetwork,
        adam: FlatAdam,
        *,
        value_coefficient: float,
        entropy_coefficient: float,
    ) -> None:
        self._policy, self._critic, self._adam = policy, critic, adam
        self._value_coefficient, self._entropy_coefficient = value_coefficient, entropy_coefficient

    def __call__(self, rows: Rows, outputs: Outputs) -> None:
        """See Gradients."""
        self._adam.gradient.zero_()  # backward() adds
        with torch.enable_grad():
            distribution = self._policy.distribution(rows.features)
            log_probs, values = distribution.log_prob(rows.actions), self._critic(rows.features)
            entropies = distribution.entropy()
            gain = surrogate((log_probs - rows.old_log_probs).exp(), rows.advantages, rows.limits)
            loss = self._value_coefficient * value_loss(values, rows.targets) - gain
            if self._entropy_coefficient:
                loss = loss - self._entropy_coefficient * entropies.mean()
            loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for target, source in zip(outputs, (log_probs, values, entropies), strict=True):
                target.copy_(source)
