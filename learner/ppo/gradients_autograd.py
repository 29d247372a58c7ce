"""The gradient of PPO's loss on one minibatch. Knows networks and losses; knows no epochs and no optimizer.

    policy's loss = -surrogate + KL loss - entropy_coefficient * entropy
    critic's loss = value_coefficient * value loss

This is the way by automatic differentiation, which works for every network; `gradients_analytic` is the same for
perceptrons, several times faster. The two networks share nothing, so each has its gradient by itself.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.ppo.losses import kl_loss, surrogate, value_loss
from dppo.learner.ppo.rows import Rows


class Outputs(NamedTuple):
    """Outputs of the networks for the rows, written in place so that metrics can wait for the epoch."""

    log_probs: Tensor  # [n]
    values: Tensor  # [n], normalised
    entropies: Tensor  # [n]
    kls: Tensor  # [n] KL(old || new); left alone where there is no KL penalty


class KlPenalty(NamedTuple):
    """Arguments of losses.kl_loss; move from update to update."""

    coefficient: float
    hinge: float
    hinge_from: float


class Gradients(Protocol):
    """Fills the gradients of one network's parameters (overwriting) and its part of `outputs` from `rows`."""

    def policy(self, rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        """Rows and outputs of one minibatch, n each."""

    def critic(self, rows: Rows, outputs: Outputs) -> None:
        """Rows and outputs of one minibatch, n each."""


class AutogradGradients:
    """Gradients by PyTorch's automatic differentiation."""

    def __init__(
        self,
        policy: PolicyNetwork,
        critic: CriticNetwork,
        *,
        value_coefficient: float,
        entropy_coefficient: float,
    ) -> None:
        self._policy, self._critic = policy, critic
        self._value_coefficient, self._entropy_coefficient = value_coefficient, entropy_coefficient

    def policy(self, rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        """See Gradients."""
        _zero(self._policy)
        with torch.enable_grad():
            distribution = self._policy.distribution(rows.encoded(self._policy.encode))
            log_probs, entropies = distribution.log_prob(rows.actions), distribution.entropy()
            loss = -surrogate((log_probs - rows.old_log_probs).exp(), rows.advantages, rows.limits)
            if penalty is not None:
                kls = distribution.kl_from(distribution.of_rows(rows.old))  # type: ignore[arg-type]  # of one type
                loss = loss + kl_loss(kls.mean(), *penalty)
                outputs.kls.copy_(kls.detach())
            if self._entropy_coefficient:
                loss = loss - self._entropy_coefficient * entropies.mean()
            loss.backward()  # type: ignore[no-untyped-call]
        outputs.log_probs.copy_(log_probs.detach())
        outputs.entropies.copy_(entropies.detach())

    def critic(self, rows: Rows, outputs: Outputs) -> None:
        """See Gradients."""
        _zero(self._critic)
        with torch.enable_grad():
            values = self._critic(rows.encoded(self._policy.encode))
            loss = self._value_coefficient * value_loss(values, rows.targets)
            loss.backward()  # type: ignore[no-untyped-call]
        outputs.values.copy_(values.detach())


def _zero(network: torch.nn.Module) -> None:
    for parameter in network.parameters():  # backward() adds
        if parameter.grad is not None:
            parameter.grad.zero_()
