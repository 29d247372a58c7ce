"""Corrections for steps of older policies, against their equations written down plainly."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from naive_update import TUTORIAL, TUTORIAL_NETWORK, Naive
from test_advantages import random_segment
from trainer_batches import DISCRETE, acted, assert_bit_equal, weights

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.corrections import MOST_WEIGHT
from dppo.learner.ppo.gae import gae
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.ppo.vtrace import vtrace
from dppo.protocol.errors import UsageError

GAMMA, LAMBDA = 0.9, 0.8
NAIVE = replace(TUTORIAL, learning_rate=1e-4, epochs=4)


def ratios_for(seed: int, T: int, E: int) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(size=(T, E))).astype(np.float32)


def next_values_of(segment: tuple[np.ndarray, ...]) -> np.ndarray:
    """V(s_{t+1}) of every step [T, E]: 0 behind a termination, of the true final observation behind a truncation."""
    _, values, final_values, terminated, truncated, _ = segment
    following = values[1:].astype(np.float64)
    following[terminated] = 0.0
    for number, (t, e) in enumerate(zip(*np.nonzero(truncated), strict=True)):
        following[t, e] = final_values[number]
    return following


def sums_of_the_paper(segment: tuple[np.ndarray, ...], ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """v_s = V(s) + sum over t of gamma^(t-s) (c_s ... c_{t-1}) rho_t delta_t, forwards; the advantages from them."""
    rewards, values, _, terminated, truncated, valid = segment
    following, (T, E) = next_values_of(segment), rewards.shape
    targets = values.astype(np.float64)
    for s in range(T):
        for e in range(E):
            product = 1.0
            for t in range(s, T):
                if not valid[t, e]:
                    break
                rho = min(1.0, float(ratios[t, e]))
                targets[s, e] += product * rho * (rewards[t, e] + GAMMA * following[t, e] - values[t, e])
                product *= GAMMA * LAMBDA * min(1.0, float(ratios[t, e]))
                if terminated[t, e] or truncated[t, e]:
                    break
    advantages = np.zeros((T, E))
    for s in range(T):
        for e in range(E):
            if not valid[s, e]:
                continue
            goes_on = s + 1 < T and not (terminated[s, e] or truncated[s, e])
            after = LAMBDA * targets[s + 1, e] + (1 - LAMBDA) * values[s + 1, e] if goes_on else following[s, e]
            q = rewards[s, e] + GAMMA * after
            advantages[s, e] = min(1.0, float(ratios[s, e])) * (q - values[s, e])
    return advantages, targets[:-1]


@pytest.mark.parametrize("seed", range(6))
def test_v_trace_is_the_papers_sum(seed: int) -> None:
    segment, ratios = random_segment(seed, 9, 3, seed % 2 > 0), ratios_for(seed, 9, 3)
    advantages, targets = vtrace(*segment, ratios, GAMMA, LAMBDA)
    expected, expected_targets = sums_of_the_paper(segment, ratios)
    np.testing.assert_allclose(advantages, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(targets, expected_targets, rtol=1e-4, atol=1e-5)
    assert advantages.dtype == targets.dtype == np.float32
    assert not np.allclose(advantages, gae(*segment, GAMMA, LAMBDA)[0])


@pytest.mark.parametrize("trace_lambda", [0.0, 0.8, 1.0])
def test_v_trace_on_policy_is_gae_and_its_targets_are_lambda_returns(trace_lambda: float) -> None:
    segment = random_segment(3, 12, 4, True)
    ours = vtrace(*segment, np.ones((12, 4), np.float32), GAMMA, trace_lambda)
    for got, expected in zip(ours, gae(*segment, GAMMA, trace_lambda), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_v_trace_on_policy_without_lambda_is_the_n_step_return() -> None:
    rewards = np.arange(1.0, 6.0, dtype=np.float32)[:, None]
    values, no = np.full((6, 1), 7.0, np.float32), np.zeros((5, 1), bool)
    _, targets = vtrace(rewards, values, np.zeros(0, np.float32), no, no, ~no, np.ones((5, 1), np.float32), GAMMA, 1.0)
    assert targets[1, 0] == pytest.approx(2 + GAMMA * 3 + GAMMA**2 * 4 + GAMMA**3 * 5 + GAMMA**4 * 7)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    segment = random_segment(3, 4, 2, False)
    with pytest.raises(ValueError, match="ratios of shape"):
        vtrace(*segment, np.ones((4, 1), np.float32), GAMMA, LAMBDA)


def policy_that_moved(ppo: PpoConfig) -> tuple[Trainer, list[Received]]:
    """A trainer at version 2, and rollouts of versions 1 (with log-probs of another policy) and 2."""
    trainer = Trainer(DISCRETE, ppo=ppo, network=TUTORIAL_NETWORK, seed=1, total_steps=1000)
    old, new = acted(trainer, 1), acted(trainer, 2)
    rng = np.random.default_rng(5)
    old.behaviour_log_probs[:] += rng.normal(0.0, 1.2, old.behaviour_log_probs.shape).astype(np.float32)
    return trainer, [Received("a", b"a", 1, 0, old, 1, 1), Received("b", b"b", 1, 4, new, 1, 2)]


def behaviour_of(batch: list[Received]) -> torch.Tensor:
    """Log-probs in the order of Naive's rows."""
    return torch.tensor([
        rollout.segment.behaviour_log_probs[t, e]
        for rollout in batch
        for e in range(rollout.segment.rewards.shape[1])
        for t in range(len(rollout.segment.rewards) - 1, -1, -1)
    ])  # fmt: skip


def test_the_decoupled_objective_is_the_papers_written_down_naively() -> None:
    trainer, batch = policy_that_moved(replace(NAIVE, correction="decoupled"))
    other, _ = policy_that_moved(NAIVE)
    report = trainer.update(batch, 2)
    naive = Naive(other, NAIVE, batch)
    weight = (naive.old_log_probs - behaviour_of(batch)).exp()
    assert weight.max() > MOST_WEIGHT
    weight = weight.clamp(max=MOST_WEIGHT)
    assert weight.min() < 0.5
    optimizer = torch.optim.Adam(other.policy.parameters(), lr=NAIVE.learning_rate, eps=NAIVE.adam_epsilon)
    for _ in range(NAIVE.epochs):
        ratio = (naive._distribution().log_prob(naive.actions) - naive.old_log_probs).exp()
        clipped = ratio.clamp(1 - NAIVE.clip_range, 1 + NAIVE.clip_range)
        loss = -(weight * torch.minimum(ratio * naive.advantages, clipped * naive.advantages)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    parameters = dict(trainer.policy.named_parameters())
    for name, tensor in other.policy.named_parameters():
        torch.testing.assert_close(parameters[name], tensor, atol=2e-6, rtol=1e-4)
    assert report.steps_left_out == 0


@pytest.mark.parametrize("normalise", ["batch", "minibatch"])
def test_a_correction_changes_an_update_of_older_steps_and_none_of_new_ones(
    normalise: Literal["batch", "minibatch"],
) -> None:
    ended: dict[str, dict[str, torch.Tensor]] = {}
    for correction in ("none", "decoupled", "vtrace"):
        trainer, batch = policy_that_moved(replace(NAIVE, correction=correction, normalise_advantages=normalise))
        trainer.update([batch[1]], 2)
        ended[f"new {correction}"] = weights(trainer)
        trainer.update(batch, 2)
        ended[correction] = weights(trainer)
    assert_bit_equal(ended["new none"], ended["new decoupled"])
    assert_bit_equal(ended["new none"], ended["new vtrace"])
    name = "policy.body.0.weight" if "policy.body.0.weight" in ended["none"] else next(iter(ended["none"]))
    assert not torch.equal(ended["none"][name], ended["decoupled"][name])
    assert not torch.equal(ended["none"][name], ended["vtrace"][name])
    assert not torch.equal(ended["vtrace"][name], ended["decoupled"][name])


@pytest.mark.parametrize("correction", ["decoupled", "vtrace"])
def test_ratios_start_at_one_under_a_correction(correction: Literal["decoupled", "vtrace"]) -> None:
    settings = replace(NAIVE, correction=correction, learning_rate=1e-12, epochs=1)
    trainer, batch = policy_that_moved(settings)
    report = trainer.update(batch, 2)
    assert abs(report.approx_kl) < 1e-6
    assert report.clip_fraction == 0.0
    trainer, batch = policy_that_moved(replace(settings, correction="none"))
    assert trainer.update(batch, 2).clip_fraction > 0.2, "ratios to the policy that acted"


@pytest.mark.parametrize("correction", ["decoupled", "vtrace"])
def test_what_does_not_go_with_a_correction_is_refused_in_a_line(correction: Literal["decoupled", "vtrace"]) -> None:
    with pytest.raises(UsageError, match=rf"ppo\.correction={correction} .*recompute_advantages"):
        PpoConfig(correction=correction, recompute_advantages=True)
