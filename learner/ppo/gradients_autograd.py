"""The gradient of PPO's loss by automatic differentiation, which works for every network. Knows networks and losses."""

import torch

from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.ppo.gradients import KlPenalty, Outputs
from dppo.learner.ppo.losses import kl_loss, surrogate, value_loss
from dppo.learner.ppo.rows import Rows


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
                kls = distribution.kl_from(distribution.of_rows(rows.old))
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
        with torch.no_grad():  # the encoder is trained by the policy's loss alone
            features = rows.encoded(self._policy.encode)
        with torch.enable_grad():
            values = self._critic(features)
            loss = self._value_coefficient * value_loss(values, rows.targets)
            loss.backward()  # type: ignore[no-untyped-call]
        outputs.values.copy_(values.detach())


def _zero(network: torch.nn.Module) -> None:
    for parameter in network.parameters():  # backward() adds
        if parameter.grad is not None:
            parameter.grad.zero_()
