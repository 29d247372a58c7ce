"""The gradient of PPO's loss by automatic differentiation, which works for every network. Knows networks and losses."""

import torch
from torch import Tensor

from dppo.learner.models.distributions import Distribution
from dppo.learner.models.networks import CriticNetwork, PolicyNetwork, critic_encode
from dppo.learner.ppo.divergence import DivergenceMask, masked_surrogate
from dppo.learner.ppo.gradients import KlPenalty, Outputs
from dppo.learner.ppo.losses import clipped_value_loss, kl_loss, surrogate, value_loss
from dppo.learner.ppo.rows import Rows
from dppo.learner.ppo.total_variation import total_variation


class AutogradGradients:
    """Gradients by PyTorch's automatic differentiation."""

    def __init__(
        self,
        policy: PolicyNetwork,
        critic: CriticNetwork,
        *,
        value_coefficient: float,
        entropy_coefficient: float,
        value_clip_range: float = 0.0,
        mask: DivergenceMask | None = None,
    ) -> None:
        self._policy, self._critic = policy, critic
        self._critics_encode = critic_encode(policy, critic)
        self._value_coefficient, self.entropy_coefficient = value_coefficient, entropy_coefficient
        self._value_clip_range, self._mask = value_clip_range, mask

    def both(self, rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        """See Gradients."""
        shares = self._policy.memory is not None or not self._policy.encodes_once
        if not shares or self._critic.encoder is not None:
            self.critic(rows, outputs)
            self.policy(rows, outputs, penalty)
            return
        _zero(self._policy)
        _zero(self._critic)
        with torch.enable_grad():
            features = rows.seen(self._policy.encode, self._policy.memory)
            loss = self._policy_loss(features, rows, outputs, penalty) + self._value_loss(features, rows, outputs)
            loss.backward()  # type: ignore[no-untyped-call]

    def policy(self, rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        """See Gradients."""
        _zero(self._policy)
        with torch.enable_grad():
            loss = self._policy_loss(rows.seen(self._policy.encode, self._policy.memory), rows, outputs, penalty)
            loss.backward()  # type: ignore[no-untyped-call]

    def critic(self, rows: Rows, outputs: Outputs) -> None:
        """See Gradients."""
        _zero(self._critic)
        with torch.set_grad_enabled(self._critic.encoder is not None):  # the policy's is left to the policy's loss
            features = rows.seen(self._critics_encode, self._policy.memory)
        with torch.enable_grad():
            self._value_loss(features, rows, outputs).backward()  # type: ignore[no-untyped-call]

    def _policy_loss(self, features: Tensor, rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> Tensor:
        distribution = self._policy.distribution(features, rows.legal)
        log_probs, entropies = distribution.log_prob(rows.actions), distribution.entropy()
        ratio = (log_probs - rows.old_log_probs).exp()
        if self._mask is None:
            loss = -surrogate(ratio, rows.advantages, rows.limits, rows.floors)
        else:
            loss = -self._masked(ratio, distribution, rows, outputs, self._mask)
        if penalty is not None:
            kls = distribution.kl_from(distribution.of_rows(rows.old))
            loss = loss + kl_loss(kls.mean(), *penalty)
            outputs.kls.copy_(kls.detach())
        if self.entropy_coefficient:
            loss = loss - self.entropy_coefficient * entropies.mean()
        outputs.log_probs.copy_(log_probs.detach())
        outputs.entropies.copy_(entropies.detach())
        return loss

    def _masked(
        self, ratio: Tensor, distribution: Distribution, rows: Rows, outputs: Outputs, mask: DivergenceMask
    ) -> Tensor:
        old = distribution.of_rows(rows.old)
        kls = distribution.kl_from(old).detach()
        outputs.kls.copy_(kls)
        divergences = kls if mask.divergence == "kl" else total_variation(old, distribution)
        return masked_surrogate(ratio, rows.advantages, divergences, mask.limit)

    def _value_loss(self, features: Tensor, rows: Rows, outputs: Outputs) -> Tensor:
        values = self._critic(features)
        outputs.values.copy_(values.detach())
        if rows.old_values is None:
            return self._value_coefficient * value_loss(values, rows.targets)
        loss = clipped_value_loss(values, rows.targets, rows.old_values, self._value_clip_range)
        return self._value_coefficient * loss


def _zero(network: torch.nn.Module) -> None:
    for parameter in network.parameters():  # backward() adds
        if parameter.grad is not None:
            parameter.grad.zero_()
