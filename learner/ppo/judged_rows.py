"""A grid's steps as rows to train on: first as they were made, then with the critic's judgement. Knows no networks."""

import math

import numpy as np
import torch
from torch import Tensor

from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.ppo.batch import Estimates, Grid
from dppo.learner.ppo.checks import refuse_what_is_not_finite
from dppo.learner.ppo.epochs import normalised
from dppo.learner.ppo.gae import gae
from dppo.learner.ppo.losses import surrogate_floors, surrogate_limits
from dppo.learner.ppo.normalisation import Moments
from dppo.learner.ppo.recurrence import Remembered
from dppo.learner.ppo.reduce import Reduce
from dppo.learner.ppo.rows import Leaves, Rows
from dppo.learner.ppo.vtrace import vtrace
from dppo.learner.ppo_config import PpoConfig


def unjudged(
    grid: Grid, observations: Leaves, features: Tensor | None, past: Remembered | None, policy: PolicyNetwork
) -> Rows:
    """The steps as the actors made them: advantages, targets and what follows from them are NaN yet."""
    row_index, old_log_probs = (
        torch.from_numpy(array).to(next(policy.parameters()).device)
        for array in (grid.row_of_step, grid.behaviour_log_probs)
    )
    actions = {name: torch.from_numpy(leaf).to(row_index.device) for name, leaf in grid.actions.items()}
    masks = [torch.from_numpy(mask).to(row_index.device) for mask in grid.masks.values()]
    nothing = torch.full_like(old_log_probs, math.nan)
    return Rows(
        observations=observations,
        row_index=row_index,
        features=None if features is None else features.index_select(0, row_index),
        actions=policy.layout.rows(actions),
        old_log_probs=old_log_probs,
        advantages=nothing,
        limits=nothing,
        targets=nothing,
        old=old_log_probs.new_empty(grid.steps, 0),
        legal=policy.mask(masks[0]) if policy.mask is not None else None,
        sequences=None if past is None else past.sequences,
    )


def estimated(
    grid: Grid,
    rewards: np.ndarray,
    outputs: np.ndarray,
    *,
    ppo: PpoConfig,
    moments: Moments,
    traces: np.ndarray | None = None,
    ratios: np.ndarray | None = None,
) -> Estimates:
    """Values, advantages and returns, in the units of rewards [T, N]. Raises DppoError where they are not finite.

    outputs: [R] of the critic; traces: [T, N] as of `gae`; ratios: [steps], by which V-trace judges, not GAE.
    """
    values = moments.believed(moments.in_units_of_rewards(outputs) if ppo.normalise_values else outputs)
    spread, finals = grid.spread(values)
    flags = (grid.terminated, grid.truncated, grid.valid)
    limit = moments.error_limit(grid.flatten(rewards), values)
    if ratios is None:
        advantages, returns = gae(rewards, spread, finals, *flags, ppo.gamma, ppo.gae_lambda, limit, traces)
    else:
        cells = grid.cells(ratios)
        advantages, returns = vtrace(rewards, spread, finals, *flags, cells, ppo.gamma, ppo.gae_lambda, limit)
    estimates = Estimates(*(grid.flatten(cells) for cells in (spread[:-1], advantages, returns)))
    refuse_what_is_not_finite(grid, estimates)
    return estimates


def judged(
    rows: Rows, estimates: Estimates, *, ppo: PpoConfig, moments: Moments, clip_range: float, reduce: Reduce | None
) -> Rows:
    """The rows with the critic's estimates of their steps: advantages normalised, targets in the moments' units."""
    targets, values = estimates.returns, estimates.values
    if ppo.normalise_values:
        targets, values = moments.normalised(targets), moments.normalised(values)
    device = rows.row_index.device
    advantages = torch.from_numpy(estimates.advantages).to(device)
    if ppo.normalise_advantages == "batch":
        advantages = normalised(advantages, reduce)
    return rows._replace(
        advantages=advantages,
        limits=surrogate_limits(advantages, clip_range),
        targets=torch.from_numpy(targets).to(device),
        floors=surrogate_floors(advantages, ppo.dual_clip) if ppo.dual_clip else None,
        old_values=torch.from_numpy(values).to(device) if ppo.value_clip_range else None,
    )
