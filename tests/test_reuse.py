"""Steps of earlier batches in an update: against generalized PPO written down a row at a time, with PyTorch's Adam."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from trainer_batches import (
    CONTINUOUS,
    DISCRETE,
    PPO,
    SMALL,
    acted,
    assert_bit_equal,
    batch_for,
    make_trainer,
    weights,
)

from dppo.learner.batch_memory import update_bytes
from dppo.learner.config import CollectConfig, LearnerConfig, NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.epochs import UpdateReport
from dppo.learner.ppo.reuse import reused
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import UsageError
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Spec

WHOLE = PpoConfig(
    epochs=4,
    minibatch_steps=0,
    learning_rate=2e-2,
    adam_epsilon=1e-8,
    critic_learning_rate=1e-2,
    value_coefficient=1.0,
    max_grad_norm=0.0,
    clip_range=0.1,
    normalise_values=False,
    reuse=3,
    reuse_kl=1e9,
)


class Alone:
    """A group of one learner."""

    ranks = 1

    def mean(self, numbers: Tensor) -> None:
        """Leave the numbers as they are."""


def naive_row(trainer: Trainer, segment: Segment, t: int, e: int) -> tuple[Tensor, Tensor, float]:
    """(observation, action, log-prob under the newest policy) of one step."""
    observation = torch.from_numpy(segment.observations["observation"][t, e])
    action = torch.from_numpy(np.asarray(segment.actions["action"][t, e]))
    with torch.no_grad():
        features = trainer.policy.encode({"observation": observation[None]})
        log_prob = trainer.policy.distribution(features).log_prob(action[None])
    return features[0], action, float(log_prob)


def naive_rows(trainer: Trainer, ppo: PpoConfig, segment: Segment, *, is_new: bool) -> list[dict[str, Tensor]]:
    """Every step's row, with the sums of the paper: A = sum over j of (gamma lambda)^j c_1 .. c_j delta_j."""
    T, E = segment.rewards.shape
    finals = dict(zip(zip(*np.nonzero(segment.truncated), strict=True), range(10**6), strict=False))

    def value(observation: np.ndarray) -> float:
        with torch.no_grad():
            features = trainer.policy.encode({"observation": torch.from_numpy(observation)[None]})
            return float(trainer.critic(features)[0])

    rows = []
    for e in range(E):
        steps = [naive_row(trainer, segment, t, e) for t in range(T)]
        behaviour = [float(x) for x in segment.behaviour_log_probs[:, e]]
        c = [1.0 if is_new else math.exp(steps[t][2] - behaviour[t]) for t in range(T)]
        for t in range(T):
            advantage, factor = 0.0, 1.0
            for j in range(t, T):
                following = value(segment.observations["observation"][j + 1, e])
                if segment.terminated[j, e]:
                    following = 0.0
                if segment.truncated[j, e]:
                    following = value(segment.final_observations["observation"][finals[j, e]])
                now = value(segment.observations["observation"][j, e])
                factor *= 1.0 if j == t else ppo.gamma * ppo.gae_lambda * min(1.0, c[j])
                advantage += factor * (float(segment.rewards[j, e]) + ppo.gamma * following - now)
                if segment.terminated[j, e] or segment.truncated[j, e]:
                    break
            here = value(segment.observations["observation"][t, e])
            plain = {"behaviour": behaviour[t], "c": c[t], "A": advantage, "target": here + min(1.0, c[t]) * advantage}
            row = {name: torch.tensor(x, dtype=torch.float64) for name, x in plain.items()}
            rows.append(row | {"features": steps[t][0], "action": steps[t][1]})
    return rows


def naive_update(trainer: Trainer, ppo: PpoConfig, batches: list[list[Received]]) -> None:
    """One update of the trainer's own networks on these batches, the newest first."""
    of_batches = [
        naive_rows(trainer, ppo, rollout.segment, is_new=not age)
        for age, batch in enumerate(batches)
        for rollout in batch
    ]
    rows = [row for of_batch in of_batches for row in of_batch]
    features, actions, behaviour, c, A, targets = (
        torch.stack([row[name] for row in rows]) for name in ("features", "action", "behaviour", "c", "A", "target")
    )
    A = (A - (c * A).mean() / c.mean()) / ((c * A).std(correction=0) + 1e-8)
    epsilon = ppo.clip_range / ((len(batches) + 1) / 2)
    policy = torch.optim.Adam(trainer.policy.parameters(), lr=ppo.learning_rate, eps=ppo.adam_epsilon)
    critic = torch.optim.Adam(trainer.critic.parameters(), lr=ppo.critic_learning_rate, eps=ppo.adam_epsilon)
    for _ in range(ppo.epochs):
        ratio = (trainer.policy.distribution(features).log_prob(actions).double() - behaviour).exp()
        clipped = torch.minimum(torch.maximum(ratio, c - epsilon), c + epsilon)
        policy.zero_grad()
        (-torch.minimum(ratio * A, clipped * A).mean()).backward()
        policy.step()
        critic.zero_grad()
        (0.5 * (trainer.critic(features).double() - targets).square().mean()).backward()
        critic.step()


def unlike(trainer: Trainer, batch: list[Received], shift: float) -> list[Received]:
    """The batch as if a policy that is some way off had acted."""
    noise = np.random.default_rng(7)
    return [
        replace(
            rollout,
            segment=replace(
                rollout.segment,
                behaviour_log_probs=(
                    rollout.segment.behaviour_log_probs
                    + noise.normal(0, shift, rollout.segment.behaviour_log_probs.shape)
                ).astype(np.float32),
            ),
        )
        for rollout in batch
    ]


@pytest.mark.fast(2)
@pytest.mark.parametrize("spec", [CONTINUOUS, DISCRETE])
def test_an_update_with_earlier_batches_is_that_of_generalized_ppo(spec: Spec) -> None:
    trainer, naive = make_trainer(spec, WHOLE), make_trainer(spec, WHOLE)
    kept: list[list[Received]] = []
    for seed in range(2):
        batch = batch_for(trainer, seed, actors=1)
        trainer.update(batch)
        kept.insert(0, batch)
    naive.load(trainer.tensors(), trainer.counters())
    for tensor in trainer._steps.tensors().values():
        tensor.zero_()  # as PyTorch's Adam begins
    batch = batch_for(trainer, 2, actors=1)
    report = trainer.update(batch)
    assert report.reused_steps == 64
    assert report.steps == 32
    assert report.clip_fraction > 0.1, "the clip must bite for this to be a test of it"
    naive_update(naive, WHOLE, [batch, *kept])
    for ours, theirs in ((trainer.policy, naive.policy), (trainer.critic, naive.critic)):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5)


def test_without_earlier_batches_nothing_is_different() -> None:
    plain, reusing = make_trainer(), make_trainer(ppo=replace(PPO, reuse=4))
    plain.update(batch_for(plain))
    report = reusing.update(batch_for(reusing))
    assert_bit_equal(weights(plain), weights(reusing))
    assert math.isnan(report.reused_steps)
    assert report.clip_range == PPO.clip_range


def reports(ppo: PpoConfig, updates: int) -> tuple[Trainer, list[UpdateReport]]:
    trainer = make_trainer(ppo=ppo)
    return trainer, [trainer.update(batch_for(trainer, seed)) for seed in range(updates)]


def test_an_update_has_the_newest_batches_and_a_clip_range_for_them() -> None:
    _, made = reports(replace(PPO, reuse=3, reuse_kl=1e9), 5)
    assert [report.reused_steps for report in made[1:]] == [96, 192, 192, 192]
    assert [round(report.clip_range, 6) for report in made] == [0.2, round(0.2 / 1.5, 6), 0.1, 0.1, 0.1]
    assert [report.steps for report in made] == [96] * 5


def test_moments_and_counters_see_a_step_once() -> None:
    plain, _ = reports(PPO, 4)
    reusing, _ = reports(replace(PPO, reuse=3), 4)
    assert reusing.counters()["steps_trained"] == plain.counters()["steps_trained"] == 384
    for name in ("observations.count", "values.count", "rewards.count"):
        assert reusing.tensors()[name] == plain.tensors()[name], name


def test_ratios_of_the_new_batch_are_checked_and_start_at_one() -> None:
    _, made = reports(replace(PPO, reuse=3, learning_rate=1e-2), 4)
    assert all(report.first_pass_ratio_error < 1e-4 for report in made)


def test_a_batch_is_left_out_once_the_policy_is_far_from_the_one_that_made_it() -> None:
    trainer = make_trainer(ppo=replace(PPO, reuse=3, reuse_kl=0.05))
    trainer.update(unlike(trainer, batch_for(trainer, 0), 0.001))
    far = unlike(trainer, batch_for(trainer, 1), 0.5)
    assert trainer.update(far).reused_steps == 96
    report = trainer.update(batch_for(trainer, 2))
    assert report.reused_steps == 96, "the batch before the last one alone"
    assert report.clip_range == pytest.approx(0.2 / 2), "the mean of 1 and 3"


def test_steps_that_no_policy_can_have_made_are_not_reused() -> None:
    log_probs = torch.tensor([-1.0, -1.0, -30.0, -1.2])
    behaviour = torch.tensor([-1.0, -1.0, -1.0, -1.0])
    found = reused(log_probs, behaviour, np.array([0, 1, 1, 1]), most_kl=1.0)
    assert found.trained_on.tolist() == [True, True, False, True]
    assert found.corrections[[0, 1, 3]] == pytest.approx([1.0, 1.0, math.exp(-0.2)])
    assert found.steps == 2


@pytest.mark.parametrize("reuse", [65, 10**9])
def test_more_batches_than_memory_bears_are_refused(reuse: int) -> None:
    with pytest.raises(UsageError, match=rf"ppo.reuse={reuse} "):
        PpoConfig(reuse=reuse)


@pytest.mark.parametrize(
    "other",
    [
        {"surrogate": "kl_penalty"},
        {"surrogate": "divergence_mask"},
        {"dual_clip": 3.0},
        {"recompute_advantages": True},
        {"normalise_advantages": "minibatch"},
    ],
)
def test_what_has_no_meaning_for_earlier_policies_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"ppo.reuse=2 .* leave out one"):
        PpoConfig(reuse=2, **other)


def test_a_memory_is_refused_and_so_is_a_second_learner() -> None:
    with pytest.raises(UsageError, match=r"network.memory=gru"):
        LearnerConfig(ppo=PpoConfig(reuse=2), network=NetworkConfig(memory="gru"))
    with pytest.raises(UsageError, match="one learner"):
        Trainer(CONTINUOUS, ppo=replace(PPO, reuse=2), network=SMALL, seed=1, total_steps=1, reduce=Alone())


def test_memory_is_counted_for_all_batches_of_an_update() -> None:
    one, four = (update_bytes(CONTINUOUS, batch_steps=1000, normalises=False, batches=count) for count in (1, 4))
    assert four == 4 * one


def test_batches_may_be_of_any_length() -> None:
    trainer = make_trainer(ppo=replace(PPO, reuse=2))
    longer = [Received("a0", b"\0", 0, 0, acted(trainer, 1, T=13))]
    trainer.update(longer)
    report = trainer.update(batch_for(trainer, 2))
    assert report.reused_steps == 13 * 4


def test_reuse_is_offered_where_it_may_be_set() -> None:
    assert LearnerConfig().may_reuse
    for section, changed in (
        ("ppo", PpoConfig(surrogate="kl_penalty")),
        ("network", NetworkConfig(memory="gru")),
        ("collect", CollectConfig(max_staleness=1)),
    ):
        config = replace(LearnerConfig(), **{section: changed})
        assert not config.may_reuse
        with pytest.raises(UsageError):
            replace(config, ppo=replace(config.ppo, reuse=2))
