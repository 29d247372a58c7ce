"""The report on one update, from what its epochs returned. Pure."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from dppo.learner.models.beta import Beta
from dppo.learner.models.distributions import Distribution, Joint
from dppo.learner.models.exploration import gaussian_of
from dppo.learner.ppo.batch import Estimates
from dppo.learner.ppo.checks import FirstPass
from dppo.learner.ppo.epochs import UpdateReport
from dppo.learner.ppo.guarded_update import Trained
from dppo.learner.ppo.losses import explained_variance
from dppo.learner.ppo.schedules import Schedules
from dppo.learner.ppo_config import PpoConfig


def report_of(
    estimates: Estimates,
    done: Trained,
    first: FirstPass,
    outliers: Sequence[str],
    staleness: np.ndarray | None,
    *,
    ppo: PpoConfig,
    schedules: Schedules,
    parts: int,
) -> UpdateReport:
    """Return the report. schedules: as they were during the update; parts: minibatches of each epoch.

    staleness: [steps] versions; None: all steps are of the newest one.
    """
    epochs, policy = done.epochs, done.policy
    excess_actor, excess = max(first.excesses.items(), key=lambda item: item[1])
    values, returns = torch.from_numpy(estimates.values), torch.from_numpy(estimates.returns)
    return UpdateReport(
        steps=len(returns),
        epochs=len(epochs),
        optimizer_steps=sum(metrics.optimizer_steps for metrics in epochs) + ppo.critic_epochs * parts,
        policy_loss=_mean([metrics.policy_loss for metrics in epochs]),
        value_loss=_mean(done.value_losses),
        entropy=_mean([metrics.entropy for metrics in epochs]),
        approx_kl=epochs[-1].approx_kl,
        kl=done.kl,
        kl_coefficient=schedules.kl_coefficient,
        clip_fraction=_mean([metrics.clip_fraction for metrics in epochs]),
        explained_variance=explained_variance(values, returns).item(),
        grad_norm=_mean([metrics.grad_norm for metrics in epochs]),
        learning_rate=schedules.learning_rate,
        clip_range=schedules.clip_range,
        policy_std=_mean_std(policy),
        first_pass_ratio_error=max(first.ratio_errors.values()),
        ratio_error_by_actor=first.ratio_errors,
        ratio_excess=excess,
        ratio_excess_actor=excess_actor,
        outliers=len(outliers),
        steps_left_out=done.left_out,
        staleness_mean=0.0 if staleness is None else float(staleness.mean()),
        staleness_max=0 if staleness is None else int(staleness.max()),
        notes=(*((kind, outliers[0]) for kind in ["outlier"] if outliers), *done.notes),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mean_std(distribution: Distribution) -> float:
    """Mean of a distribution's stds over rows and dimensions: before a tanh, a Beta's in 0..1; NaN without numbers."""
    numbers = distribution.numbers if isinstance(distribution, Joint) else distribution
    if isinstance(numbers, Beta):
        return numbers.std().mean().item()
    gaussian = gaussian_of(numbers)
    return math.nan if gaussian is None else gaussian.log_std.exp().mean().item()
