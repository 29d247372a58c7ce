"""PPO's loss terms and the figures that judge an update. Pure functions of tensors; all means are over rows."""

import torch
from torch import Tensor


def surrogate_limits(advantages: Tensor, clip_range: float) -> Tensor:
    """Return the most that clipping allows r A to be, [N]: (1 + eps) A where A > 0, (1 - eps) A where A < 0.

    min(r A, clip(r, 1 - eps, 1 + eps) A) = min(r A, A + eps |A|), so the limit can be computed once for many ratios.
    """
    return advantages + clip_range * advantages.abs()


def surrogate_floors(advantages: Tensor, dual_clip: float) -> Tensor:
    """Return the least that a dual clip allows r A to be, [N]: c A where A < 0, no bound elsewhere.

    Ye et al. 2020 (arXiv 1912.09729): max(min(r A, clip(r, 1 - eps, 1 + eps) A), c A) where A < 0; their c is 3.
    """
    return torch.where(advantages < 0, dual_clip * advantages, -torch.inf)


def surrogate(ratio: Tensor, advantages: Tensor, limits: Tensor, floors: Tensor | None = None) -> Tensor:
    """L^CLIP = mean(min(r A, clip(r, 1 - eps, 1 + eps) A)), [] (Schulman et al. 2017, arXiv 1707.06347, eq. 7).

    ratio r = pi(a|s) / pi_old(a|s) [N]; advantages A [N]; limits [N] as by surrogate_limits, or infinite where nothing
    is clipped; floors [N] as by surrogate_floors. To be maximised.
    """
    products = torch.minimum(ratio * advantages, limits)
    return (products if floors is None else torch.maximum(products, floors)).mean()


def kl_loss(kl: Tensor, coefficient: float, hinge: float, hinge_from: float) -> Tensor:
    """Return the KL's part of the loss: coefficient * kl + hinge * max(0, kl - hinge_from)^2; kl [] is a mean.

    Schulman et al. 2017, section 4; the hinge is that of Heess et al. 2017 (arXiv 1707.02286), who begin it at twice
    the target.
    """
    loss = coefficient * kl
    return loss + hinge * (kl - hinge_from).relu().square() if hinge else loss


def kl_loss_gradient(kl: Tensor, coefficient: float, hinge: float, hinge_from: float) -> Tensor:
    """The derivative of kl_loss by kl, []."""
    return (kl - hinge_from).relu().mul_(2.0 * hinge).add_(coefficient)


def value_loss(values: Tensor, targets: Tensor) -> Tensor:
    """mean((V - target)^2) / 2, []."""
    return 0.5 * (values - targets).square().mean()


def clipped_value_loss(values: Tensor, targets: Tensor, old: Tensor, clip_range: float) -> Tensor:
    """mean(max((V - target)^2, (clip(V, old - eps, old + eps) - target)^2)) / 2, [].

    OpenAI baselines' ppo2. Gains nothing in most tasks and often hurts (Andrychowicz et al. 2021, arXiv 2006.05990).
    """
    clipped = old + (values - old).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum((values - targets).square(), (clipped - targets).square()).mean()


def is_value_clipped(values: Tensor, targets: Tensor, old: Tensor, clip_range: float) -> Tensor:
    """Return the rows whose part of clipped_value_loss no longer depends on V, [N] bool."""
    moved = values - old
    clipped = moved.clamp(-clip_range, clip_range)
    return (moved != clipped) & ((old + clipped - targets).abs() > (values - targets).abs())


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
