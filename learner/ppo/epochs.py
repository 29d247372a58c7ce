"""The epochs of one update: shuffle, cut into minibatches, step. Knows tensors; knows no rollouts and no settings."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dppo.learner.ppo.gradients import Outputs
from dppo.learner.ppo.losses import approx_kl, clip_fraction, surrogate, surrogate_floors, surrogate_limits, value_loss
from dppo.learner.ppo.reduce import Reduce, joint_mean_and_std, mean_over_ranks, mean_over_rows, on_any_rank
from dppo.learner.ppo.rows import Rows
from dppo.protocol.errors import DppoError

ADVANTAGE_EPSILON = 1e-8

# an optimizer step on a minibatch; writes its gradient's norm []; False: it was not made, and the epochs end
Step = Callable[[Rows, Outputs, Tensor], bool]
Refresh = Callable[[Rows], Rows]  # the same rows, with advantages and targets by the newest critic
Trains = Literal["both", "policy"]


@dataclass(frozen=True)
class EpochMetrics:
    """Means over the rows of one epoch, each row as it was when its minibatch was trained on."""

    policy_loss: float  # -surrogate
    value_loss: float  # of normalised values, without their clipping; nan where the critic is not trained
    entropy: float
    approx_kl: float  # sampled
    penalised_kl: float  # analytic KL(old || new); 0 under a clip
    clip_fraction: float
    grad_norm: float  # mean over the epoch's optimizer steps, before clipping
    optimizer_steps: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class UpdateReport:
    """Report on one update. Losses, entropy, clip fraction and norm are means over all epochs."""

    steps: int  # environment steps trained on
    epochs: int  # run, at most ppo.epochs
    optimizer_steps: int  # the critic's own included
    policy_loss: float  # without KL penalty, entropy bonus and mask
    value_loss: float  # of normalised values, if they are normalised
    entropy: float
    approx_kl: float  # sampled, mean over the last epoch
    kl: float  # analytic KL(old || new) of the whole update, mean over the batch
    kl_coefficient: float  # of this update; nan without a KL penalty
    clip_fraction: float
    explained_variance: float  # of the values before the update; nan where all returns are equal
    grad_norm: float  # before clipping
    learning_rate: float  # of this update
    clip_range: float
    policy_std: float  # mean over action dimensions; nan for discrete actions
    first_pass_ratio_error: float  # max |ratio - 1| before the first optimizer step
    ratio_error_by_actor: dict[str, float]  # the same of each actor's rows
    ratio_excess: float = 0.0  # the largest error of a log-prob, in units of what rounding explains
    ratio_excess_actor: str = ""  # whose it is
    outliers: int = 0  # absurd numbers in the batch: how far they are believed is limited
    steps_left_out: int = 0  # of `steps`: no policy gave them, or the update was not finite with them
    staleness_mean: float = 0.0  # of the steps, in versions between the one that acted and the one that is trained on
    staleness_max: int = 0
    notes: tuple[tuple[str, str], ...] = ()  # about absurd numbers and such steps, for people: of what kind, and what
    reused_steps: float = math.nan  # of earlier batches, trained on besides `steps`; nan where there were none


class Diverged(DppoError):
    """A figure of an update is not finite."""


def minibatch_sizes(steps: int, minibatch_steps: int, reduce: Reduce | None = None) -> list[int]:
    """Nearly equal parts of about minibatch_steps, so that no short last minibatch has a noisier gradient; 0: whole.

    All ranks have the same number of parts.
    """
    (usual,) = mean_over_ranks(reduce, [steps])
    return _equal_parts(steps, max(1, round(usual / minibatch_steps)) if minibatch_steps else 1)


def _equal_parts(steps: int, parts: int) -> list[int]:
    return [steps // parts + (part < steps % parts) for part in range(parts)]


def minibatches(rows: Rows, minibatch_steps: int, reduce: Reduce | None = None) -> list[int]:
    """Sizes of the minibatches of a batch. Where there are fewer sequences there are fewer: on all ranks as many."""
    sizes = minibatch_sizes(len(rows.targets), minibatch_steps, reduce)
    if rows.sequences is None:
        return sizes
    parts, most = len(sizes), len(rows.sequences.lengths)
    if reduce is None:
        parts = min(parts, most)
    while reduce is not None and on_any_rank(reduce, most < parts):
        parts //= 2
    return _equal_parts(len(rows.targets), parts)


def normalised(advantages: Tensor, reduce: Reduce | None = None) -> Tensor:
    """Advantages [N] with mean 0 and std 1, over all ranks."""
    if reduce is None:
        std, mean = torch.std_mean(advantages, correction=0)
    else:
        mean, std = joint_mean_and_std(reduce, advantages)
    return (advantages - mean) / (std + ADVANTAGE_EPSILON)


@torch.no_grad()
def run_epochs(
    batch: Rows,
    *,
    step: Step,
    trains: Trains,
    rng: np.random.Generator,
    epochs: int,
    minibatch_steps: int,
    clip_range: float,
    early_stop_kl: float,
    normalise_minibatches: bool,
    dual_clip: float = 0.0,
    refresh: Refresh | None = None,
    reduce: Reduce | None = None,
) -> list[EpochMetrics]:
    """Train the policy, or both networks, on every row once per epoch; the metrics of each epoch that was run.

    refresh: called before each epoch but the first.
    Ends where a step is not made, and after the first epoch whose KL (penalised_kl where there is a penalty, else
    approx_kl) exceeds early_stop_kl (0: never).
    Raises DppoError where a figure is not finite.
    """
    passes = _Passes(batch, minibatches(batch, minibatch_steps, reduce))
    penalised = batch.old.shape[-1] > 0
    metrics: list[EpochMetrics] = []
    for epoch in range(epochs):
        if epoch and refresh is not None:
            batch = refresh(batch)
        rows, sizes = batch.for_epoch(passes.sizes, rng if minibatch_steps else None)
        passes.cut(sizes)
        if normalise_minibatches:
            advantages = torch.cat([normalised(part) for part in torch.split_with_sizes(rows.advantages, passes.sizes)])
            if rows.weights is not None:
                advantages = advantages * rows.weights
            limits = rows.limits if penalised else surrogate_limits(advantages, clip_range)
            floors = None if rows.floors is None else surrogate_floors(advantages, dual_clip)
            rows = rows._replace(advantages=advantages, limits=limits, floors=floors)
        is_whole = passes.over(rows, step)
        metrics.append(_judged(rows, passes, clip_range, reduce))
        _refuse_what_is_not_finite(metrics[-1], epoch, except_for="" if trains == "both" else "value_loss")
        if not is_whole or 0 < early_stop_kl < (metrics[-1].penalised_kl if penalised else metrics[-1].approx_kl):
            break
    return metrics


@torch.no_grad()
def run_critic_epochs(
    batch: Rows,
    *,
    step: Step,
    rng: np.random.Generator,
    epochs: int,
    minibatch_steps: int,
    reduce: Reduce | None = None,
) -> list[float]:
    """Train the critic alone; the value loss of each epoch. Raises DppoError where it is not finite."""
    passes = _Passes(batch, minibatches(batch, minibatch_steps, reduce))
    losses: list[Tensor] = []
    for _ in range(epochs):
        rows, sizes = batch.for_epoch(passes.sizes, rng if minibatch_steps else None)
        passes.cut(sizes)
        passes.over(rows, step)
        losses.append(value_loss(passes.outputs.values, rows.targets))
    read = mean_over_rows(reduce, torch.stack(losses).tolist())
    for epoch, loss in enumerate(read):
        if not math.isfinite(loss):
            raise diverged(f"the critic's epoch {epoch + 1}", f"value_loss={loss}", "ppo.critic_learning_rate")
    return read


class _Passes:
    """Preallocated outputs of one epoch, as minibatch views. Rows that are not written stay NaN (KL: 0)."""

    def __init__(self, batch: Rows, sizes: Sequence[int]) -> None:
        empty = torch.full((len(batch.targets),), math.nan, device=batch.targets.device)
        self.outputs = Outputs(empty, empty.clone(), empty.clone(), torch.zeros_like(empty))
        self.norms = empty.new_zeros(len(sizes))
        self._norm_parts = self.norms.unbind()
        self.steps = self.rows = 0  # optimizer steps made in the last epoch, and rows whose outputs are written
        self.sizes: Sequence[int] = ()
        self.cut(sizes)

    def cut(self, sizes: Sequence[int]) -> None:
        """Minibatches of so many rows from now on, as many as ever: those of whole sequences change with each epoch."""
        if sizes == self.sizes:
            return
        self.sizes = sizes
        self._output_parts = [
            Outputs(*parts)
            for parts in zip(*(torch.split_with_sizes(whole, sizes) for whole in self.outputs), strict=True)
        ]

    def over(self, rows: Rows, step: Step) -> bool:
        """One step on each minibatch, in order. False: it ended early, with a minibatch on which none was made."""
        self.steps = self.rows = 0
        for part, outputs, norm in zip(rows.split(self.sizes), self._output_parts, self._norm_parts, strict=True):
            self.rows += outputs.values.size(0)
            if not step(part, outputs, norm):
                return False
            self.steps += 1
        return True


def _judged(rows: Rows, passes: _Passes, clip_range: float, reduce: Reduce | None) -> EpochMetrics:
    """The epoch's metrics, read from the device once; means over ranks, so that all of them decide alike."""
    outputs, norms = passes.outputs, passes.norms
    if passes.rows < len(outputs.values):  # ended early
        rows = rows._replace(packs=None).split([passes.rows, len(outputs.values) - passes.rows])[0]
        outputs, norms = Outputs(*(whole[: passes.rows] for whole in outputs)), norms[: passes.steps + 1]
    log_ratio = outputs.log_probs - rows.old_log_probs
    ratio = log_ratio.exp()
    metrics: list[float] = torch.stack(
        [
            -surrogate(ratio, rows.advantages, rows.limits, rows.floors),
            value_loss(outputs.values, rows.targets),
            outputs.entropies.mean(),
            approx_kl(log_ratio),
            outputs.kls.mean(),
            clip_fraction(ratio, clip_range),
            norms.mean(),
        ]
    ).tolist()
    return EpochMetrics(*mean_over_rows(reduce, metrics), optimizer_steps=passes.steps)


def _refuse_what_is_not_finite(metrics: EpochMetrics, epoch: int, *, except_for: str) -> None:
    wrong = {name: x for name, x in vars(metrics).items() if not math.isfinite(x) and name != except_for}
    if wrong:
        listed = ", ".join(f"{name}={value}" for name, value in wrong.items())
        raise diverged(f"epoch {epoch + 1}", listed, "ppo.learning_rate")


def diverged(where: str, metrics: str, rate: str) -> Diverged:
    """The error for metrics that are not finite, and what to do about it."""
    return Diverged(
        f"training diverged in {where}: {metrics}. "
        f"The batch itself was finite, so the step was too large: lower {rate}, or set ppo.max_grad_norm, in a run of "
        "its own (--run.new)."
    )
