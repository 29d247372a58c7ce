"""Corrections for steps that older policies made. Knows rows and distributions; knows no networks and no optimizer.

Three policies take part in an update: mu, which acted (behaviour); pi_prox, the learner's before the update (proximal);
and pi, which is trained. Of steps of the newest version mu is pi_prox, so there is nothing to correct.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dppo.learner.models.distributions import Distribution
from dppo.learner.ppo.losses import surrogate_floors, surrogate_limits
from dppo.learner.ppo.rows import Rows
from dppo.learner.ppo_config import PpoConfig

MOST_WEIGHT = 5.0  # of a step; a heavier one would have most of its batch's variance


class Correction(NamedTuple):
    """Quantities that make up for the age of a batch's steps."""

    old_log_probs: Tensor  # [n] log pi_prox: ratios in the surrogate are pi / pi_prox
    weights: Tensor | None  # [n] of the surrogate; None: 1
    ratios: np.ndarray | None  # [n] float32, pi_prox / mu, by which V-trace judges; None: GAE judges


def correction_of(
    proximal: Distribution, rows: Rows, staleness: np.ndarray | None, ppo: PpoConfig
) -> Correction | None:
    """Return the correction; None where there is nothing to correct, or nothing is to be corrected.

    proximal: of all rows; rows: with mu's log-probs; staleness: [n] versions, None: 0.
    """
    if ppo.correction == "none" or staleness is None or not staleness.any():
        return None
    is_stale = torch.from_numpy(staleness > 0).to(rows.old_log_probs.device)
    log_probs = torch.where(is_stale, proximal.log_prob(rows.actions), rows.old_log_probs)
    ratios = (log_probs - rows.old_log_probs).exp()
    if ppo.correction == "decoupled":
        return Correction(log_probs, decoupled_weights(ratios), None)
    return Correction(log_probs, None, ratios.cpu().numpy())


def decoupled_weights(ratios: Tensor) -> Tensor:
    """Return the weights [n] of the decoupled objective (Hilton et al. 2021, arXiv 2110.00641, eq. 2).

        L = mean(w * min(r A, clip(r, 1 - eps, 1 + eps) A)),  w = pi_prox / mu,  r = pi / pi_prox

    Cut at MOST_WEIGHT. A weight is positive, so it may be multiplied with the advantage as well: min(r wA, ...).
    """
    return ratios.clamp_max(MOST_WEIGHT)


def weighed(rows: Rows, correction: Correction, *, ppo: PpoConfig, clip_range: float) -> Rows:
    """Return the judged rows with ratios to pi_prox, and with weights.

    Where minibatches normalise advantages, they are weighed after that.
    """
    rows = rows._replace(old_log_probs=correction.old_log_probs)
    if correction.weights is None or ppo.normalise_advantages == "minibatch":
        return rows._replace(weights=correction.weights)
    advantages = rows.advantages * correction.weights
    return rows._replace(
        advantages=advantages,
        limits=surrogate_limits(advantages, clip_range),
        floors=surrogate_floors(advantages, ppo.dual_clip) if ppo.dual_clip else None,
    )
