"""PPO's loss terms and the figures that judge an update. Pure functions of tensors; all means are over rows."""

import torch
from torch import Tensor


def clipped_surrogate(ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """L^CLIP = mean(min(r A, clip(r, 1 - eps, 1 + eps) A)), [] (Schulman et al. 2017, arXiv 1707.06347, eq. 7).

    ratio r = pi(a|s) / pi_old(a|s) [N]; advantages A [N]. To be maximised.
    """
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    return torch.minimum(ratio * advantages, clipped * advantages).mean()


def surrogate_slope(ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """d(r A or its clipped form) / d(log r), [N]: r A, and 0 where the clip is the smaller one.

    Clipping bites where A > 0 and r > 1 + eps, or A < 0 and r < 1 - eps.
    """
    bites = torch.where(advantages > 0, ratio > 1.0 + clip_range, ratio < 1.0 - clip_range)
    return (ratio * advantages).masked_fill_(bites, 0.0)


def value_loss(values: Tensor, targets: Tensor) -> Tensor:
    """mean((V - target)^2) / 2, []. Not clipped: clipping gains nothing and often hurts (Andrychowicz et al. 2021)."""
    return 0.5 * (values - targets).square().mean()


def approx_kl(log_ratio: Tensor) -> Tensor:
    """KL(old || new) from samples of old, []: mean((r - 1) - log r), the unbiased, never negative "k3".

    J. Schulman, "Approximating KL divergence", 2020. log_ratio [N] is log pi - log pi_old.
    """
    return (log_ratio.expm1() - log_ratio).mean()


def clip_fraction(ratio: Tensor, clip_range: float) -> Tensor:
    """The part of rows whose ratio is outside 1 - eps .. 1 + eps, []."""
    return ((ratio - 1.0).abs() > clip_range).to(torch.float32).mean()


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns), []: 1 is perfect, 0 as good as a constant; nan where returns are."""
    variance = returns.var(correction=0)
    return torch.where(variance > 0, 1.0 - (returns - values).var(correction=0) / variance, torch.nan)
