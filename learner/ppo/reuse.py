"""Steps of earlier batches in an update, as in generalized PPO. Knows grids and arrays; knows no networks.

J. Queeney, I. Ch. Paschalidis, C. G. Cassandras, "Generalized proximal policy optimization with sample reuse", 2021
(arXiv 2111.00072). A step of the batch that was made i updates ago has the behaviour policy pi_{k-i}; with its
correction c = pi_k(a|s) / pi_{k-i}(a|s), which is 1 in the new batch, and r = pi(a|s) / pi_{k-i}(a|s), its surrogate is

    min(r A, clip(r, c - eps, c + eps) A)

where A is by the newest critic along traces of min(1, c) (`gae`), and eps is the clip range divided by the mean of
i + 1, so that an update moves the policy no further than one without earlier batches may. With r = c r', where
r' = pi(a|s) / pi_k(a|s), it is min(r' c A, c A + eps |A|): rows of advantages c A, which start at a ratio of 1.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dppo.learner.models.distributions import Distribution
from dppo.learner.ppo.batch import Grid, Received, lay_out
from dppo.learner.ppo.epochs import ADVANTAGE_EPSILON
from dppo.learner.ppo.packed_rollouts import pack_groups, unpack_groups
from dppo.learner.ppo.rows import Rows
from dppo.protocol.specs import Spec

MOST_LOG_RATIO = 10.0  # of a step that is reused: beyond it no policy of this run gave it


class Reused(NamedTuple):
    """A grid of the new batch and those before it, and how far the policy has moved since they were made."""

    batch_of_step: np.ndarray  # [steps] int64: 0 is the new one, 1 the one before it
    corrections: np.ndarray  # [steps] float32, c; 1 in the new batch
    trained_on: np.ndarray  # [steps] bool: the new batch, and those within the KL bound

    @property
    def steps(self) -> int:
        """Steps of earlier batches that are trained on."""
        return int((self.trained_on & (self.batch_of_step > 0)).sum())

    @property
    def mean_age(self) -> float:
        """The mean of i + 1 over the batches that are trained on."""
        return float((np.unique(self.batch_of_step[self.trained_on]) + 1).mean())

    def normalised(self, advantages: np.ndarray) -> np.ndarray:
        """Advantages [steps] less their mean under the newest policy, sum(c A) / sum(c), by the std of c A.

        Over the steps that are trained on; as in the paper's own code. With c = 1 as `epochs.normalised`.
        """
        own, c = advantages[self.trained_on].astype(np.float64), self.corrections[self.trained_on].astype(np.float64)
        deviation = (c * own).std() + ADVANTAGE_EPSILON
        normal: np.ndarray = ((advantages - (c * own).mean() / c.mean()) / deviation).astype(np.float32)
        return normal

    def traces(self, grid: Grid) -> np.ndarray:
        """min(1, c) in cells [T, N] of the grid, 1 where there is no step."""
        traces = np.ones(grid.valid.shape, np.float32)
        traces.T[grid.valid.T] = np.minimum(self.corrections, 1)
        return traces


class EarlierBatches:
    """The batches before the new one, the newest first."""

    def __init__(self, batches: int) -> None:
        """batches: of an update, the new one included."""
        self._most = batches - 1
        self._older: deque[Sequence[Received]] = deque(maxlen=self._most)

    def packed(self, spec: Spec) -> bytes:
        """Return them as bytes, for a checkpoint; b"" where there are none, or more than that takes."""
        return pack_groups(spec, self._older)

    def load(self, packed: bytes) -> None:
        """Have what was packed, as many as are wanted, and nothing else. Raises ProtocolError as `unpack_groups`."""
        groups = unpack_groups(packed)[: self._most]
        self._older = deque(([rollout for rollout, _ in group] for group in groups), maxlen=self._most)

    def keep(self, fresh: Sequence[Received]) -> None:
        """Keep a batch that has been trained on, as `assemble` returns it."""
        self._older.appendleft(fresh)

    def beside(self, fresh: Sequence[Received], new: Grid) -> tuple[Grid, np.ndarray | None]:
        """(the grid of the new batch with all that are kept behind it, batch of each step); the new grid and None where
        none are.

        Steps of the new batch come first, in the order that they have in their own grid.
        """
        if not self._older:
            return new, None
        batches = [fresh, *self._older]
        grid = lay_out([rollout for batch in batches for rollout in batch])
        steps = [sum(rollout.segment.steps for rollout in batch) for batch in batches]
        return grid, np.repeat(np.arange(len(batches)), steps)


def reused(log_probs: Tensor, behaviour_log_probs: Tensor, batch_of_step: np.ndarray, most_kl: float) -> Reused:
    """Return what is reused of a grid's steps. log_probs, behaviour_log_probs: [steps], of pi_k and of pi_{k-i}.

    most_kl: batches whose mean KL(pi_{k-i} || pi_k), estimated as `losses.approx_kl`, is beyond it are left out.
    """
    log_ratios = (log_probs - behaviour_log_probs).nan_to_num(nan=np.inf).cpu().numpy()
    log_ratios[batch_of_step == 0] = 0.0
    possible = np.abs(log_ratios) <= MOST_LOG_RATIO
    log_ratios = np.where(possible, log_ratios, np.float32(0))
    kls = np.expm1(log_ratios) - log_ratios
    ages = int(batch_of_step.max()) + 1
    sums, counts = (np.bincount(batch_of_step, weights, ages) for weights in (kls * possible, possible))
    near = sums <= most_kl * counts
    return Reused(batch_of_step, np.exp(log_ratios).astype(np.float32), possible & near[batch_of_step])


class Corrected(NamedTuple):
    """An update with earlier batches: rows to train on, their steps, and the policy to compare with."""

    rows: Rows  # their surrogate is that of generalized PPO
    grid: Grid  # its steps are those rows
    old: Distribution  # pi_k of the rows


def corrected(
    rows: Rows, grid: Grid, old: Distribution, reuse: Reused, advantages: np.ndarray, *, clip_range: float
) -> Corrected:
    """Rows of the steps that are trained on. advantages: [steps] float32, as the surrogate has them.

    Ratios of earlier batches start from pi_k's log-probs; those of the new one from the actors' own, as ever.
    """
    device = rows.row_index.device
    batches, corrections, plain = (
        torch.from_numpy(array).to(device) for array in (reuse.batch_of_step, reuse.corrections, advantages)
    )
    products = corrections * plain
    rows = rows._replace(
        advantages=products,
        limits=products + clip_range * plain.abs(),
        old_log_probs=torch.where(batches == 0, rows.old_log_probs, old.log_prob(rows.actions)),
    )
    if reuse.trained_on.all():
        return Corrected(rows, grid, old)
    kept = np.flatnonzero(reuse.trained_on)
    where = torch.from_numpy(kept).to(device)
    grid = replace(grid, actor_of_step=grid.actor_of_step[kept], row_of_step=grid.row_of_step[kept])
    return Corrected(rows.select(where), grid, old.of_rows(old.rows().index_select(0, where)))
