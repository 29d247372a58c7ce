"""Options of PPO's losses against plain loops and torch.distributions, and both gradients against each other."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor
from trainer_batches import CONTINUOUS, DISCRETE, PPO, SMALL, assert_bit_equal, batch_for

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.losses import (
    clipped_value_loss,
    is_value_clipped,
    surrogate,
    surrogate_floors,
    surrogate_limits,
)
from dppo.learner.ppo.optimizer import Way
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec

STRONG = replace(PPO, learning_rate=0.02, epochs=4)  # so that every bound is met
WAYS: tuple[Way, ...] = ("analytic", "autograd")


def trained(ppo: PpoConfig, spec: Spec = CONTINUOUS, way: Way = "analytic") -> dict[str, Tensor]:
    trainer = Trainer(spec, ppo=ppo, network=SMALL, seed=1, total_steps=10_000, gradients=way)
    for seed in range(2):
        trainer.update(batch_for(trainer, seed))
    return trainer.tensors()


def assert_both_ways_agree(ppo: PpoConfig) -> None:
    for spec in (CONTINUOUS, DISCRETE):
        analytic, autograd = trained(ppo, spec), trained(ppo, spec, "autograd")
        for name, tensor in analytic.items():
            torch.testing.assert_close(tensor, autograd[name], atol=2e-5, rtol=1e-3)


def assert_does_something(ppo: PpoConfig, without: PpoConfig = STRONG) -> None:
    one, other = trained(ppo), trained(without)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_clipped_values_cost_the_larger_of_two_losses_row_by_row() -> None:
    rows = [(0.5, 1.0, 0.0), (0.5, -1.0, 0.0), (0.1, 1.0, 0.0), (-0.9, 0.0, -0.2), (0.3, 0.35, 0.0)]
    expected = []
    for value, target, old in rows:
        clipped = min(max(value, old - 0.2), old + 0.2)
        expected.append(max((value - target) ** 2, (clipped - target) ** 2) / 2)
    values, targets, olds = torch.tensor(rows).unbind(1)
    values.requires_grad_()
    loss = clipped_value_loss(values, targets, olds, 0.2)
    assert loss.item() == pytest.approx(sum(expected) / len(rows))
    (slope,) = torch.autograd.grad(loss, values)
    assert is_value_clipped(values, targets, olds, 0.2).tolist() == [True, False, False, False, True]
    assert (slope == 0).tolist() == [True, False, False, False, True]


@pytest.mark.slow
def test_value_clipping_is_the_same_by_both_gradients_and_holds_values_back() -> None:
    clipped = replace(STRONG, value_clip_range=0.02)
    assert_both_ways_agree(clipped)
    assert_does_something(clipped)
    assert_does_something(replace(clipped, critic_epochs=2), replace(STRONG, critic_epochs=2))


def test_a_negative_value_clip_range_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ppo\.value_clip_range=-1"):
        PpoConfig(value_clip_range=-1)


@pytest.mark.slow
def test_a_scheduled_entropy_bonus_is_that_of_the_steps_trained_so_far() -> None:
    horizon = 2 * 3 * 8 * 4  # two batches of three rollouts of 8 x 4
    scheduled = replace(STRONG, entropy_coefficient=0.3, entropy_schedule="linear")
    for way in WAYS:
        for spec in (CONTINUOUS, DISCRETE):
            whole = Trainer(spec, ppo=scheduled, network=SMALL, seed=1, total_steps=horizon, gradients=way)
            parts = Trainer(spec, ppo=scheduled, network=SMALL, seed=1, total_steps=horizon, gradients=way)
            whole.update(batch_for(whole, 0))
            parts.load(whole.tensors(), whole.counters())
            half = replace(scheduled, entropy_coefficient=0.15, entropy_schedule="constant")
            constant = Trainer(spec, ppo=half, network=SMALL, seed=1, total_steps=horizon, gradients=way)
            constant.load(whole.tensors(), whole.counters())
            batch = batch_for(whole, 1)
            for trainer in (whole, parts, constant):
                trainer.update(batch)
            assert_bit_equal(whole.tensors(), parts.tensors())
            assert_bit_equal(whole.tensors(), constant.tensors())


def test_a_dual_clip_bounds_what_a_bad_action_that_became_likely_counts_row_by_row() -> None:
    ratios, advantages, eps, c = [0.5, 2.0, 5.0, 0.5, 2.0, 5.0], [1.0, 1.0, 1.0, -1.0, -1.0, -2.0], 0.2, 3.0
    rows = []
    for r, a in zip(ratios, advantages, strict=True):
        clipped = min(r * a, min(max(r, 1 - eps), 1 + eps) * a)
        rows.append(max(clipped, c * a) if a < 0 else clipped)
    assert rows == pytest.approx([0.5, 1.2, 1.2, -0.8, -2.0, -6.0])
    a = torch.tensor(advantages)
    got = surrogate(torch.tensor(ratios), a, surrogate_limits(a, eps), surrogate_floors(a, c))
    assert got.item() == pytest.approx(sum(rows) / len(rows))


@pytest.mark.slow
@pytest.mark.parametrize("over", ["batch", "minibatch"])
def test_a_dual_clip_is_the_same_by_both_gradients(over: Literal["batch", "minibatch"]) -> None:
    without = replace(STRONG, normalise_advantages=over)
    clipped = replace(without, dual_clip=1.02)
    assert_both_ways_agree(clipped)
    assert_does_something(clipped, without)


def test_a_dual_clip_needs_a_clip_and_more_than_1() -> None:
    with pytest.raises(UsageError, match=r"ppo\.dual_clip=0\.9 must be above 1"):
        PpoConfig(dual_clip=0.9)
    with pytest.raises(UsageError, match=r"ppo\.surrogate=kl_penalty"):
        PpoConfig(dual_clip=3, surrogate="kl_penalty")
