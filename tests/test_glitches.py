"""Absurd numbers in what actors send: training survives them, names them, and hardly notices."""

import math
from collections.abc import Callable
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from shards import fast_first
from trainer_batches import acted, assert_bit_equal

from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.epochs import EpochMetrics, Refresh, UpdateReport
from dppo.learner.ppo.rows import Rows
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.telemetry.update_metrics import warnings_of
from dppo.protocol.errors import DppoError
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import spec_of

OBSERVATIONS = gym.spaces.Box(-np.inf, np.inf, (3,))
SPEC = spec_of(OBSERVATIONS, gym.spaces.Box(-1, 1, (1,)))
DISCRETE = spec_of(OBSERVATIONS, gym.spaces.Discrete(3))
PPO = PpoConfig(epochs=3, minibatch_steps=64)
PATHS = {
    "default": PPO,
    "minibatch advantages": replace(PPO, normalise_advantages="minibatch"),
    "raw advantages": replace(PPO, normalise_advantages="none"),
    "raw values": replace(PPO, normalise_values=False),
    "penalty": replace(PPO, surrogate="kl_penalty"),
    "critic apart": replace(PPO, critic_learning_rate=1e-3, critic_epochs=2),
    "shaped": replace(PPO, reward_scale=10.0, reward_offset=1.0),
}
NETWORKS = {
    "normalised": NetworkConfig(policy_hidden=(16,), critic_hidden=(16,)),
    "raw relu": NetworkConfig((16,), (16,), activation="relu", normalise_observations=False),
}
ABSURD = [1e6, 1e12, 3e38, -3e38]

Spoil = Callable[[Segment], Segment]


def reward_of(value: float) -> Spoil:
    def spoil(segment: Segment) -> Segment:
        rewards = segment.rewards.copy()
        rewards[3, 2] = value
        return replace(segment, rewards=rewards)

    return spoil


def observation_of(value: float, element: int = 1) -> Spoil:
    def spoil(segment: Segment) -> Segment:
        observations = segment.observations["observation"].copy()
        observations[3, 2, element] = value
        return replace(segment, observations={"observation": observations})

    return spoil


def log_prob_of(value: float) -> Spoil:
    def spoil(segment: Segment) -> Segment:
        return replace(segment, behaviour_log_probs=np.full_like(segment.behaviour_log_probs, value))

    return spoil


def action_of(value: float) -> Spoil:
    def spoil(segment: Segment) -> Segment:
        return replace(segment, actions={"action": np.full_like(segment.actions["action"], value)})

    return spoil


def trained(
    ppo: PpoConfig, network: NetworkConfig, spoils: dict[int, Spoil], updates: int = 8
) -> tuple[Trainer, list[UpdateReport]]:
    """A run of two actors; spoils: what the second one's rollout becomes, by update."""
    trainer = Trainer(SPEC, ppo=ppo, network=network, seed=1, total_steps=100_000)
    reports = []
    for update in range(updates):
        honest, other = (acted(trainer, 10 * update + i, T=32, E=4) for i in range(2))
        other = spoils.get(update, lambda segment: segment)(other)
        reports.append(
            trainer.update([Received("h0", b"0", update, 0, honest), Received("h1", b"1", update, 4, other)])
        )
    return trainer, reports


def assert_healthy(trainer: Trainer, reports: list[UpdateReport]) -> None:
    for name, tensor in trainer.tensors().items():
        assert tensor.isfinite().all(), name
    for report in reports:
        assert math.isfinite(report.kl)
        assert report.kl < 1.0
        assert abs(report.policy_loss) < 100
    moments = trainer._moments
    assert moments.values.variance < 1e6
    assert (moments.observations.variance < 1e6).all()


def assert_named(reports: list[UpdateReport], at: int, what: str, value: float) -> None:
    text = dict(warnings_of(reports[at]))["outlier"]
    assert text.startswith(f"h1: environment 2: {what} is {value:.6g}, ")
    assert "deviations from what came before" in text


@pytest.mark.fast(2)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("ppo", PATHS.values(), ids=PATHS)
def test_a_glitch_is_bounded_counted_and_named(ppo: PpoConfig, network: NetworkConfig) -> None:
    trainer, reports = trained(ppo, network, {0: reward_of(3e38), 3: observation_of(1e12)}, updates=6)
    assert_healthy(trainer, reports)
    assert [report.outliers for report in reports] == [1, 0, 0, 1, 0, 0]
    assert_named(reports, 0, "reward", 3e38)
    assert_named(reports, 3, "observation[1]", 1e12)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("early", "late"), [(1e6, -3e38), (-3e38, 1e6)])
def test_it_may_be_the_first_batch_or_a_later_one(early: float, late: float, network: NetworkConfig) -> None:
    trainer, reports = trained(PPO, network, {0: observation_of(early, 0), 3: reward_of(late)}, updates=5)
    assert_healthy(trainer, reports)
    assert_named(reports, 0, "observation[0]", early)
    assert_named(reports, 3, "reward", late)


@pytest.mark.parametrize("unit", fast_first([1e7, 1.0, 1e-3], 1))
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_nothing_is_cut_where_nothing_is_absurd_in_any_unit(
    unit: float, network: NetworkConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewards in any unit, and one that is always 1e6 plus something: bit for bit as if there were no limits."""

    def run(offset: float) -> dict[str, torch.Tensor]:
        trainer = Trainer(SPEC, ppo=PPO, network=network, seed=1, total_steps=100_000)
        for update in range(6):
            segment = acted(trainer, update, T=64)
            scaled = replace(segment, rewards=segment.rewards * np.float32(unit) + np.float32(offset))
            assert trainer.update([Received("h0", b"0", update, 0, scaled)]).outliers == 0
        return trainer.tensors()

    limited = [run(offset) for offset in (0.0, 1e6)]
    for name in (
        "outliers.DEVIATIONS",
        "outliers.FIRST_DEVIATIONS",
        "normalisation.DEVIATIONS",
        "encoder_statistics.UNNORMALISED_CLIP",
    ):
        monkeypatch.setattr(f"dppo.learner.ppo.{name}", 1e20)
    for ours, theirs in zip(limited, [run(offset) for offset in (0.0, 1e6)], strict=True):
        assert_bit_equal(ours, theirs)


@pytest.mark.slow
def test_a_rare_reward_that_is_meant_pulls_the_policy() -> None:
    """+1e4 in one step of a hundred where others pay -1..0, for one of three actions: it learns to take that."""
    trainer = Trainer(
        DISCRETE,
        ppo=PpoConfig(minibatch_steps=64, gamma=0.5, learning_rate=2e-3),
        network=NETWORKS["normalised"],
        seed=1,
        total_steps=100_000,
    )
    for update in range(30):
        segment = acted(trainer, update, T=64, reward=lambda action: -np.ones(action.shape))
        chance = np.random.default_rng(update).random(segment.rewards.shape) < 0.03
        paid = np.where(chance & (segment.actions["action"] == 2), np.float32(1e4), segment.rewards)
        trainer.update([Received("h0", b"0", update, 0, replace(segment, rewards=paid.astype(np.float32)))])
    assert (acted(trainer, 99, T=64).actions["action"] == 2).mean() > 0.7


LIES = {
    "log-prob -1e30": log_prob_of(-1e30),
    "log-prob -100": log_prob_of(-100.0),
    "log-prob 1e30": log_prob_of(1e30),
    "action 1e30": action_of(1e30),
}


@pytest.mark.fast(2)
@pytest.mark.parametrize(
    ("ppo", "spoil"),
    [(PPO, spoil) for spoil in LIES.values()] + [(ppo, LIES["log-prob -1e30"]) for ppo in PATHS.values()],
    ids=[*LIES, *PATHS],
)
def test_what_no_policy_gave_is_left_out_and_its_actor_named(ppo: PpoConfig, spoil: Spoil) -> None:
    trainer, reports = trained(ppo, NETWORKS["normalised"], {2: spoil}, updates=4)
    assert_healthy(trainer, reports)
    assert [report.steps_left_out for report in reports] == [0, 0, 128, 0]
    assert dict(warnings_of(reports[2]))["left out"].startswith("128 steps of h1 are left out")


def test_a_batch_of_which_nothing_is_left_changes_no_weight() -> None:
    trainer, _ = trained(PPO, NETWORKS["normalised"], {})
    before = {name: tensor.clone() for name, tensor in trainer.policy.named_parameters()}
    rate = trainer.counters()["learning_rate"]
    segment = log_prob_of(-1e30)(acted(trainer, 99))
    report = trainer.update([Received("h0", b"0", 99, 0, segment)])
    assert report.steps_left_out == report.steps == 32
    assert math.isnan(report.policy_loss)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.policy.named_parameters())
    assert trainer.counters()["learning_rate"] == rate


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_our_own_divergence_still_ends_with_what_to_do(network: NetworkConfig) -> None:
    with pytest.raises(DppoError, match=r"training diverged in .*: .*lower ppo.learning_rate"):
        trained(replace(PPO, learning_rate=1e30, max_grad_norm=0.0, epochs=20), network, {}, updates=3)


def test_an_update_that_is_not_finite_is_taken_back_and_done_without_the_absurd_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In depth: what a check before the update has let through."""
    trainer, _ = trained(PPO, NETWORKS["normalised"], {})
    train_on = trainer._train_on

    def overflows(rows: Rows, refresh: Refresh) -> tuple[list[EpochMetrics], list[float]]:
        result = train_on(rows, refresh)
        if rows.actions.abs().max() > 1e4:
            trainer._steps._adam.values.fill_(math.nan)
        return result

    monkeypatch.setattr(trainer, "_train_on", overflows)
    monkeypatch.setattr("dppo.learner.ppo.checks.MOST_LOG_RATIO", math.inf)
    honest = acted(trainer, 1, T=32)
    absurd = replace(acted(trainer, 2, T=32), actions={"action": np.full((32, 4, 1), 1e5, np.float32)})
    report = trainer.update([Received("h0", b"0", 9, 0, honest), Received("h1", b"1", 9, 4, absurd)])
    assert report.steps_left_out == 128
    assert "h1 sent absurd numbers" in dict(report.notes)["taken back"]
    assert all(tensor.isfinite().all() for tensor in trainer.tensors().values())
