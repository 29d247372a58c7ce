"""One update that either is finite or never was: it is taken back, and done again without absurd rows. Knows rows and
optimizer steps; knows no rollouts and no settings.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dppo.learner.models.distributions import Distribution
from dppo.learner.ppo.batch import Grid
from dppo.learner.ppo.checks import mean_kl, unlike_the_others
from dppo.learner.ppo.epochs import Diverged, EpochMetrics, diverged
from dppo.learner.ppo.optimizer import ActorCriticOptimizer
from dppo.learner.ppo.reduce import Reduce, mean_over_rows, on_any_rank, weigh
from dppo.learner.ppo.rows import Rows

NO_EPOCH = EpochMetrics(*[math.nan] * 7)

TrainOn = Callable[[Rows], tuple[list[EpochMetrics], list[float]]]  # figures of the epochs, the critic's losses


@dataclass(frozen=True)
class Trained:
    """Result of the epochs of an update."""

    epochs: list[EpochMetrics]
    value_losses: list[float]
    kl: float  # KL(old || new), mean over the rows that were trained on; nan where there were none
    policy: Distribution  # new, of all rows
    left_out: int  # rows that were not trained on
    notes: tuple[tuple[str, str], ...]  # of what kind, and what, for people


def train_or_take_back(
    rows: Rows,
    grid: Grid,
    *,
    kept: np.ndarray,
    old: Distribution,
    train_on: TrainOn,
    policy: Callable[[Rows], Distribution],
    steps: ActorCriticOptimizer,
    reduce: Reduce | None = None,
) -> Trained:
    """Train on the kept rows, kept [steps] bool. Where that is not finite, put everything back and do it again without
    the actor whose numbers are unlike all others. Raises Diverged where there is none: then the settings are at fault.
    All ranks decide alike.
    """
    before, notes = steps.kept(), _left_out(grid, kept)
    kept = rows.trainable(kept)
    while not on_any_rank(reduce, not kept.any()):
        weigh(reduce, int(kept.sum()))
        where = None if kept.all() else torch.from_numpy(np.flatnonzero(kept)).to(rows.row_index.device)
        chosen = rows if where is None else rows.select(where)
        try:
            epochs, value_losses = train_on(chosen)
            new = policy(rows)
            (kl,) = mean_over_rows(reduce, [mean_kl(old, new, where)])
            if not (math.isfinite(kl) and steps.finite):
                raise diverged("the last step", f"KL={kl}", "ppo.learning_rate")
        except Diverged as error:
            steps.put_back(before)
            culprit = unlike_the_others(rows, grid, kept)
            if not on_any_rank(reduce, bool(culprit)):
                raise
            if not culprit:
                continue  # another rank leaves its own out
            kept = kept & (grid.actor_of_step != grid.actors.index(culprit))
            notes.append(("taken back", f"{culprit} sent absurd numbers, and the update is done without it ({error})"))
        else:
            return Trained(epochs, value_losses, kl, new, int(len(kept) - kept.sum()), tuple(notes))
    return Trained([NO_EPOCH], [math.nan], math.nan, old, len(kept), tuple(notes))


def _left_out(grid: Grid, kept: np.ndarray) -> list[tuple[str, str]]:
    """Return the note on rows left out because no policy of this run gave them, if there are any."""
    actors = sorted({grid.actors[index] for index in grid.actor_of_step[~kept]})
    count = int(len(kept) - kept.sum())
    text = f"{count} steps of {', '.join(actors)} are left out: no policy of this run gives their log-probs"
    return [("left out", text)] if count else []
