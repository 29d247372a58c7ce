"""Checks of a batch before anything is trained on it. Knows arrays; knows no optimizer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dppo.learner.models.distributions import Distribution
from dppo.learner.ppo.batch import Estimates, Grid
from dppo.learner.ppo.rows import Rows
from dppo.protocol.errors import DppoError

RATIO_TOLERANCE = 1e-4  # of a log-prob: beyond it, and beyond rounding, an actor used other weights than we think
ROUNDINGS = 64  # units in the last place that sums over a layer's inputs in another order may differ by
MOST_LOG_RATIO = 10.0  # e^10: no honest mistake, and the next step would be to overflow
MOST = 0.9  # of an actor's rows
UNLIKE = 100.0  # times what most rows are below


def refuse_what_is_not_finite(grid: Grid, estimates: Estimates) -> None:
    """Raise DppoError for a nan or an infinity, naming where it came from."""
    if grid.steps == 0:
        raise DppoError("the batch holds no environment step, only resets: collect more steps per update")
    of_actors = {"rewards": grid.flatten(grid.rewards), "behaviour log-probs": grid.behaviour_log_probs}
    for name, leaf in grid.actions.items():
        of_actors[f"{name}s" if name == "action" else name] = leaf.reshape(grid.steps, -1).sum(axis=1)
    for name, array in of_actors.items():
        bad = ~np.isfinite(array)
        if bad.any():
            actors = sorted({grid.actors[index] for index in grid.actor_of_step[bad]})
            raise DppoError(
                f"{int(bad.sum())} {name} of {', '.join(actors)} are nan or infinite: look at what the environment "
                "returns there (a simulator that blew up?), since training on them would destroy the policy"
            )
    if not all(np.isfinite(leaf).all() for leaf in grid.observations.values() if leaf.dtype.kind == "f"):
        raise DppoError(
            "observations are nan or infinite: look at what the environment returns (a simulator that blew up?), since "
            "training on them would destroy the policy"
        )
    if not (np.isfinite(estimates.values).all() and np.isfinite(estimates.returns).all()):
        raise DppoError(
            "the critic's values are not finite although the batch is: the network's weights have diverged: lower "
            "ppo.learning_rate, or set ppo.max_grad_norm, in a run of its own (--run.new)"
        )


@dataclass(frozen=True)
class FirstPass:
    """Comparison of the actors' log-probs with the learner's of the same actions, before the first optimizer step.

    On policy they differ by rounding. More means that an actor used other weights or another normaliser than the
    learner thinks, that a mask is wrong, or that data were corrupted.
    """

    ratio_errors: dict[str, float]  # the largest |pi(a|s) / behaviour - 1| of each actor's rows
    excesses: dict[str, float]  # the largest |log pi(a|s) - log behaviour| in units of what rounding explains
    plausible: np.ndarray  # [steps] bool: false where no policy of ours can have given the log-prob


def first_pass(
    distribution: Distribution,
    rows: Rows,
    actor_of_row: np.ndarray,
    actors: Sequence[str],
    staleness: np.ndarray | None = None,
) -> FirstPass:
    """Compare the rows' old log-probs with those of the distribution that they were sampled from.

    actor_of_row: [steps] index into `actors`, the names. staleness: [steps] versions; older rows were sampled from
    another distribution, and what they differ by is no error. None: there are none.
    """
    log_ratios = distribution.log_prob(rows.actions) - rows.old_log_probs
    explained = rounding(distribution, rows.actions)
    excesses = log_ratios.abs() / explained
    read = torch.stack([log_ratios.expm1().abs(), excesses]).nan_to_num(nan=math.inf).cpu().numpy()
    worst = np.zeros((2, len(actors)), np.float32)
    newest = slice(None) if staleness is None else staleness == 0
    for figure, errors in zip(worst, read, strict=True):
        np.maximum.at(figure, actor_of_row[newest], errors[newest])
    ratio_errors, of_rounding = (dict(zip(actors, figure.tolist(), strict=True)) for figure in worst)
    plausible = (
        (log_ratios.abs() <= explained.clamp(MOST_LOG_RATIO, 10 * MOST_LOG_RATIO)).cpu().numpy()
    )  # false for NaN
    return FirstPass(ratio_errors, of_rounding, plausible)


def rounding(distribution: Distribution, actions: Tensor) -> Tensor:
    """Return how far apart two correct float32 computations of the actions' log-probs may be, [N]."""
    size = distribution.terms(actions)
    return (ROUNDINGS * torch.finfo(torch.float32).eps * size).clamp_min(RATIO_TOLERANCE)


def unlike_the_others(rows: Rows, grid: Grid, kept: np.ndarray) -> str:
    """The actor whose kept rows hold numbers far beyond what most rows of the most usual actor hold, "" if none does.

    A share of the rows would not do as a measure: one of two actors has half of them.
    """
    parts = [_magnitudes(part) for part in (rows.actions, rows.advantages, rows.targets)]
    if rows.features is None:
        # bytes are never absurd, and images would take four times their memory
        leaves = [leaf for leaf in rows.observations.values() if isinstance(leaf, Tensor)]
        leaves = [leaf for leaf in leaves if leaf.dtype is not torch.uint8]
        parts += [_magnitudes(leaf).index_select(0, rows.row_index) for leaf in leaves]
    else:
        parts.append(_magnitudes(rows.features))
    sizes = np.stack([part.cpu().numpy() for part in parts])  # [parts, steps]
    of_actors = [sizes[:, kept & (grid.actor_of_step == actor)] for actor in np.unique(grid.actor_of_step[kept])]
    usual = np.min([np.quantile(of_actor, MOST, axis=1) for of_actor in of_actors], axis=0)
    beyond = np.where(kept, (sizes / np.maximum(usual, 1.0)[:, None]).max(axis=0), 0.0)
    worst = int(beyond.argmax())
    return grid.actors[grid.actor_of_step[worst]] if beyond[worst] > UNLIKE else ""


def _magnitudes(array: Tensor) -> Tensor:
    """Largest magnitude in each row of [n, ...], [n]."""
    return array.reshape(len(array), -1).to(torch.float32).abs().amax(-1)  # of flags and bytes too


def mean_kl(old: Distribution, new: Distribution, where: Tensor | None = None) -> float:
    """KL(old || new), mean over the rows `where` [n] int64; None: over all."""
    kl = new.kl_from(old)
    return (kl if where is None else kl.index_select(0, where)).mean().item()
