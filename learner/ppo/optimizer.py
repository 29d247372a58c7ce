"""One optimizer step on a minibatch, of both networks together or of each apart. Knows gradients and Adam; knows no
epochs and no settings.
"""

import functools
from typing import Literal

import torch
from torch import Tensor

from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.ppo.adam import FlatAdam
from dppo.learner.ppo.divergence import DivergenceMask
from dppo.learner.ppo.gradients import Gradients, KlPenalty, Outputs
from dppo.learner.ppo.gradients_analytic import AnalyticGradients, applies_to
from dppo.learner.ppo.gradients_autograd import AutogradGradients
from dppo.learner.ppo.losses import approx_kl
from dppo.learner.ppo.reduce import Reduce, mean_gradient, mean_over_rows
from dppo.learner.ppo.rows import Rows

Way = Literal["analytic", "autograd"]  # analytic: where they apply to the networks


class ActorCriticOptimizer:
    """Adam of policy and critic: one over both, whose gradient has one norm, or one for each.

    Moves the networks' parameters, so make it before what refers to them.
    """

    def __init__(
        self,
        policy: PolicyNetwork,
        critic: CriticNetwork,
        *,
        apart: bool,
        epsilon: float,
        max_grad_norm: float,
        value_coefficient: float,
        entropy_coefficient: float,
        way: Way,
        value_clip_range: float = 0.0,
        mask: DivergenceMask | None = None,
        reduce: Reduce | None = None,
    ) -> None:
        self.learning_rate = self.critic_learning_rate = 0.0  # the second one only where they are apart
        self.penalty: KlPenalty | None = None
        self.stop_kl = 0.0  # no step of the policy on a minibatch whose KL(old || new) exceeds it; 0: always one
        self._max_grad_norm, self._reduce = max_grad_norm, reduce
        self._adam = FlatAdam([policy] if apart else [policy, critic], epsilon=epsilon)
        self._critic_adam = FlatAdam([critic], epsilon=epsilon) if apart else None
        self._unread_norm = torch.zeros((), device=self._adam.values.device)
        is_analytic = way == "analytic" and mask is None and applies_to(policy, critic)
        make = AnalyticGradients if is_analytic else functools.partial(AutogradGradients, mask=mask)
        self._gradients: Gradients = make(
            policy,
            critic,
            value_coefficient=value_coefficient,
            entropy_coefficient=entropy_coefficient,
            value_clip_range=value_clip_range,
        )

    def set_entropy_coefficient(self, coefficient: float) -> None:
        """Weigh the entropy bonus of the next steps."""
        self._gradients.entropy_coefficient = coefficient

    def both(self, rows: Rows, outputs: Outputs, norm: Tensor) -> bool:
        """A step of both on the same rows; the norm is that of both together, or the policy's where they are apart.

        Returns as `policy` does; where they are apart, the critic's step is made all the same.
        """
        if self._critic_adam is not None:
            self.critic(rows, outputs, self._unread_norm)
            return self.policy(rows, outputs, norm)
        self._gradients.both(rows, outputs, self.penalty)
        return self._step_within_kl(rows, outputs, norm)

    def policy(self, rows: Rows, outputs: Outputs, norm: Tensor) -> bool:
        """A step of the policy (and of the critic along its gradient, where one Adam has both).

        Returns False where the KL of the rows exceeds stop_kl: then there is no step.
        """
        self._gradients.policy(rows, outputs, self.penalty)
        return self._step_within_kl(rows, outputs, norm)

    def critic(self, rows: Rows, outputs: Outputs, norm: Tensor) -> bool:
        """A step of the critic alone; True. Raises ValueError where it has no Adam of its own."""
        if self._critic_adam is None:
            raise ValueError("policy and critic have one Adam: make them apart to train the critic alone")
        self._gradients.critic(rows, outputs)
        self._clip(self._critic_adam, norm)
        self._critic_adam.step(self.critic_learning_rate)
        return True

    def _step_within_kl(self, rows: Rows, outputs: Outputs, norm: Tensor) -> bool:
        self._clip(self._adam, norm)
        if self.stop_kl and self._kl(rows, outputs) > self.stop_kl:
            return False
        self._adam.step(self.learning_rate)
        return True

    def _kl(self, rows: Rows, outputs: Outputs) -> float:
        """KL(old || new), mean over the rows of all ranks: estimated from samples under a clip, else analytic."""
        is_sampled = rows.old.shape[-1] == 0
        kl = approx_kl(outputs.log_probs - rows.old_log_probs) if is_sampled else outputs.kls.mean()
        (joint,) = mean_over_rows(self._reduce, [kl.item()])
        return joint

    def _clip(self, adam: FlatAdam, norm: Tensor) -> None:
        if self._reduce is not None:
            mean_gradient(self._reduce, adam.gradient)
        adam.clip(self._max_grad_norm, norm)

    def kept(self) -> list[Tensor]:
        """Copies of all that steps change, for `put_back`."""
        return [tensor.clone() for tensor in self._changing()]

    def put_back(self, kept: list[Tensor]) -> None:
        """Undo every step since `kept`."""
        for tensor, before in zip(self._changing(), kept, strict=True):
            tensor.copy_(before)

    @property
    def finite(self) -> bool:
        """Whether all parameters are."""
        return all(bool(adam.values.isfinite().all()) for adam in (self._adam, self._critic_adam) if adam)

    def _changing(self) -> list[Tensor]:
        adams = [adam for adam in (self._adam, self._critic_adam) if adam]
        return [tensor for adam in adams for tensor in (adam.values, *adam.tensors().values())]

    def tensors(self) -> dict[str, Tensor]:
        """Adam's state, for a checkpoint. Live: copy before the next step."""
        groups = {"adam": self._adam} | ({"critic_adam": self._critic_adam} if self._critic_adam else {})
        return {f"{group}.{name}": tensor for group, adam in groups.items() for name, tensor in adam.tensors().items()}
