"""The third surrogate: rows whose policy has moved too far are masked, by an exact divergence. Knows distributions.

The mask of Qi et al. 2026 (arXiv 2602.04879), who approximate divergences over large vocabularies. Here they are exact.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dppo.learner.models.distributions import Categorical, Distribution
from dppo.learner.ppo_config import PpoConfig


class DivergenceMask(NamedTuple):
    """The divergence of old and new policy that masks a row, and the value beyond which it does."""

    divergence: Literal["kl", "total_variation"]
    limit: float


def mask_of(ppo: PpoConfig) -> DivergenceMask | None:
    """Return the mask; None with another surrogate."""
    return DivergenceMask(ppo.divergence, ppo.divergence_limit) if ppo.surrogate == "divergence_mask" else None


def masked_surrogate(ratio: Tensor, advantages: Tensor, divergences: Tensor, limit: float) -> Tensor:
    """mean(m r A), [], of [N] each; m = 0 where the divergence is above the limit and A pulls r away from 1, else 1."""
    is_beyond = (divergences > limit) & ((ratio - 1.0) * advantages > 0)
    return torch.where(is_beyond, 0.0, ratio * advantages).mean()


def total_variation(old: Distribution, new: Distribution) -> Tensor:
    """Half the sum of |p_old - p_new|, [N], of two Categoricals."""
    assert isinstance(old, Categorical), "check_options says so"
    assert isinstance(new, Categorical), "check_options says so"
    return 0.5 * (old.log_probs.exp() - new.log_probs.exp()).abs().sum(-1)
