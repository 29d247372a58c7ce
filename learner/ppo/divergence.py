"""The third surrogate: rows whose policy has moved too far are masked, by an exact divergence. Knows tensors.

The mask of Qi et al. 2026 (arXiv 2602.04879), who approximate divergences over large vocabularies. Here they are exact.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

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
