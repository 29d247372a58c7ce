import math

import pytest
import torch

from dppo.learner.ppo.losses import (
    approx_kl,
    clip_fraction,
    explained_variance,
    surrogate,
    surrogate_limits,
    value_loss,
)


def test_the_surrogate_is_the_smaller_of_the_plain_and_the_clipped_product_row_by_row() -> None:
    ratios, advantages, eps = [0.5, 0.9, 1.1, 2.0, 0.5, 2.0], [1.0, 1.0, 1.0, 1.0, -1.0, -1.0], 0.2
    rows = [min(r * a, min(max(r, 1 - eps), 1 + eps) * a) for r, a in zip(ratios, advantages, strict=True)]
    assert rows == pytest.approx([0.5, 0.9, 1.1, 1.2, -0.8, -2.0])
    limits = surrogate_limits(torch.tensor(advantages), eps)
    got = surrogate(torch.tensor(ratios), torch.tensor(advantages), limits)
    assert got.item() == pytest.approx(sum(rows) / 6)


def test_the_value_loss_is_half_the_mean_squared_error() -> None:
    assert value_loss(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 5.0])).item() == pytest.approx(0.5 * (1 + 9) / 2)


def test_the_sampled_kl_estimates_the_kl_and_is_never_negative() -> None:
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(200_000, generator=generator)  # old N(0, 1), new N(0.3, 1): KL = 0.3^2 / 2
    log_ratio = -0.5 * (sample - 0.3).square() + 0.5 * sample.square()
    assert approx_kl(log_ratio).item() == pytest.approx(0.045, rel=0.03)
    assert approx_kl(torch.zeros(3)).item() == 0
    assert approx_kl(torch.tensor([-0.1, -0.2])).item() > 0


def test_the_clip_fraction_counts_rows_outside_the_range() -> None:
    assert clip_fraction(torch.tensor([0.7, 0.9, 1.0, 1.3]), 0.2).item() == 0.5


def test_explained_variance_is_one_for_perfect_values_and_zero_for_a_constant() -> None:
    returns = torch.tensor([1.0, 2.0, 4.0])
    assert explained_variance(returns + 5, returns).item() == pytest.approx(1)
    assert explained_variance(torch.zeros(3), returns).item() == pytest.approx(0)
    assert math.isnan(explained_variance(torch.zeros(3), torch.ones(3)).item())
