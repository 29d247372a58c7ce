"""The epochs of one update: shuffle, cut into minibatches, step. Knows tensors; knows no rollouts and no settings."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learner.adam import FlatAdam
from learner.gradients import Gradients, Outputs, Rows
from learner.losses import approx_kl, clip_fraction, surrogate, surrogate_limits, value_loss
from protocol.errors import DppoError

ADVANTAGE_EPSILON = 1e-8


@dataclass(frozen=True)
class EpochFigures:
    """Means over the rows of one epoch, each row as it was when its minibatch was trained on."""

    policy_loss: float  # -L^CLIP
    value_loss: float  # of normalised values
    entropy: float
    approx_kl: float
    clip_fraction: float
    grad_norm: float  # mean over the epoch's optimizer steps, before clipping


@dataclass(frozen=True)
class UpdateReport:
    """What one update did. Losses, entropy, clip fraction and norm are means over all epochs."""

    steps: int  # environment steps trained on
    epochs: int  # run, at most ppo.epochs
    optimizer_steps: int
    policy_loss: float
    value_loss: float  # of normalised values, if they are normalised
    entropy: float
    approx_kl: float  # sampled, mean over the last epoch
    kl: float  # analytic KL(old || new) of the whole update, mean over the batch
    clip_fraction: float
    explained_variance: float  # of the values before the update; nan where all returns are equal
    grad_norm: float  # before clipping
    learning_rate: float  # of this update
    clip_range: float
    policy_std: float  # mean over action dimensions; nan for discrete actions
    first_pass_ratio_error: float  # max |ratio - 1| before the first optimizer step
    ratio_error_by_actor: dict[str, float]  # the same of each actor's rows


def minibatch_sizes(steps: int, minibatch_steps: int) -> list[int]:
    """Nearly equal parts of about minibatch_steps, so that no short last minibatch has a noisier gradient."""
    parts = max(1, round(steps / minibatch_steps))
    return [steps // parts + (part < steps % parts) for part in range(parts)]


def normalised(advantages: Tensor) -> Tensor:
    """Advantages [N] with mean 0 and deviation 1."""
    deviation, mean = torch.std_mean(advantages, correction=0)
    return (advantages - mean) / (deviation + ADVANTAGE_EPSILON)


@torch.no_grad()
def run_epochs(
    batch: Rows,
    *,
    gradients: Gradients,
    adam: FlatAdam,
    rng: np.random.Generator,
    epochs: int,
    minibatch_steps: int,
    learning_rate: float,
    clip_range: float,
    max_grad_norm: float,
    early_stop_kl: float,
    normalise_minibatches: bool,
) -> list[EpochFigures]:
    """Train on every row once per epoch; the figures of each epoch that was run.

    Ends after the first epoch whose approx_kl exceeds early_stop_kl (0: never). Raises DppoError where a figure is not
    finite.
    """
    steps = len(batch.advantages)
    sizes = minibatch_sizes(steps, minibatch_steps)
    outputs = Outputs(*(torch.empty_like(batch.old_log_probs) for _ in Outputs._fields))
    output_parts = [
        Outputs(*parts) for parts in zip(*(torch.split_with_sizes(tensor, sizes) for tensor in outputs), strict=True)
    ]
    norms = torch.empty(len(sizes), device=batch.advantages.device)
    norm_parts = norms.unbind()
    figures: list[EpochFigures] = []
    for epoch in range(epochs):
        order = torch.from_numpy(rng.permutation(steps)).to(batch.advantages.device)
        shuffled = Rows(*(tensor.index_select(0, order) for tensor in batch))
        if normalise_minibatches:
            advantages = torch.cat([normalised(part) for part in torch.split_with_sizes(shuffled.advantages, sizes)])
            shuffled = shuffled._replace(advantages=advantages, limits=surrogate_limits(advantages, clip_range))
        parts = [
            Rows(*tensors)
            for tensors in zip(*(torch.split_with_sizes(tensor, sizes) for tensor in shuffled), strict=True)
        ]
        for rows, said, norm in zip(parts, output_parts, norm_parts, strict=True):
            gradients(rows, said)
            adam.clip(max_grad_norm, norm)
            adam.step(learning_rate)
        figures.append(_judged(shuffled, outputs, norms, clip_range, epoch))
        if 0 < early_stop_kl < figures[-1].approx_kl:
            break
    return figures


def _judged(rows: Rows, outputs: Outputs, norms: Tensor, clip_range: float, epoch: int) -> EpochFigures:
    """The epoch's figures, read from the device once. Raises DppoError where one is not finite."""
    log_ratio = outputs.log_probs - rows.old_log_probs
    ratio = log_ratio.exp()
    figures = EpochFigures(
        *torch.stack(
            [
                -surrogate(ratio, rows.advantages, rows.limits),
                value_loss(outputs.values, rows.targets),
                outputs.entropies.mean(),
                approx_kl(log_ratio),
                clip_fraction(ratio, clip_range),
                norms.mean(),
            ]
        ).tolist()
    )
    wrong = {name: value for name, value in vars(figures).items() if not math.isfinite(value)}
    if wrong:
        raise DppoError(
            f"training diverged in epoch {epoch + 1}: {', '.join(f'{name}={value}' for name, value in wrong.items())}. "
            "The batch itself was finite, so the step was too large: lower ppo.learning_rate, or set ppo.max_grad_norm."
        )
    return figures
