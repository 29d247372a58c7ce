"""Rewards divided by the running deviation of discounted returns, against plain loops over whole episodes."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from trainer_batches import CONTINUOUS, PPO, acted, assert_bit_equal, make_trainer

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.batch import Received, lay_out
from dppo.learner.ppo.reward_scaling import Rewards
from dppo.learner.ppo.stitching import assemble
from dppo.learner.storage import checkpoint
from dppo.learner.storage.initial_weights import Source, begin_from
from dppo.protocol.errors import UsageError
from dppo.protocol.rollout import Segment

GAMMA = 0.9
SCALED = replace(PPO, gamma=GAMMA, normalise_rewards=True)
E = 4


def segment_of(seed: int, envs: int = E) -> Segment:
    return acted(make_trainer(), seed, T=5, E=envs, reward=lambda actions: 3.0 * actions + 1.0)


def trained_on(rewards: Rewards, batch: list[Received]) -> np.ndarray:
    grid = lay_out(assemble(batch))
    return grid.flatten(rewards.to_train_on(grid))


def slow_returns(segments: list[Segment]) -> list[list[float]]:
    """Discounted returns of every step of each segment, which follow each other in the same environments."""
    running, found = [0.0] * E, []
    for segment in segments:
        here = []
        for e in range(E):
            for t in range(len(segment.rewards)):
                running[e] = GAMMA * running[e] + float(segment.rewards[t, e])
                here.append(running[e])
                if segment.terminated[t, e] or segment.truncated[t, e]:
                    running[e] = 0.0
        found.append(here)
    return found


def test_rewards_are_divided_by_the_deviation_of_all_discounted_returns_so_far() -> None:
    segments = [segment_of(seed) for seed in range(4)]
    returns = slow_returns(segments)
    rewards = Rewards(SCALED)
    for number, segment in enumerate(segments):
        got = trained_on(rewards, [Received("a", b"one life", number, 0, segment)])
        so_far = np.concatenate(returns[: number + 1])
        expected = segment.rewards.T.reshape(-1) / np.sqrt(so_far.var() + 1e-8)
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_two_segments_of_a_slot_in_one_batch_follow_each_other_though_a_number_between_is_missing() -> None:
    segments = [segment_of(seed) for seed in range(2)]
    rewards = Rewards(SCALED)
    trained_on(rewards, [Received("a", b"x", 0, 0, segments[0]), Received("a", b"x", 2, 0, segments[1])])
    so_far = np.concatenate(slow_returns(segments))
    assert rewards.arrays()["reward_scale.mean"] == pytest.approx(so_far.mean())
    assert rewards.arrays()["reward_scale.squares"] == pytest.approx(so_far.var() * len(so_far))


def test_a_new_life_of_an_actor_begins_its_returns_anew() -> None:
    first, second = segment_of(0), segment_of(1)
    again, anew = Rewards(SCALED), Rewards(SCALED)
    for rewards, life in ((again, b"a"), (anew, b"b")):
        trained_on(rewards, [Received("a", b"a", 0, 0, first)])
        trained_on(rewards, [Received("a", life, 1, 0, second)])
    separate = np.concatenate([*slow_returns([first]), *slow_returns([second])])
    assert anew.arrays()["reward_scale.mean"] == pytest.approx(separate.mean())
    assert again.arrays()["reward_scale.mean"] != pytest.approx(separate.mean(), rel=1e-9)


def part_of(segment: Segment, columns: slice) -> Segment:
    names = ("rewards", "terminated", "truncated", "valid", "behaviour_log_probs")
    cut = {name: getattr(segment, name)[:, columns] for name in names}
    finals = segment.truncated[:, columns]
    kept = np.zeros_like(segment.truncated)
    kept[:, columns] = finals
    chosen = kept[segment.truncated]
    return replace(
        segment,
        **cut,
        observations={"observation": segment.observations["observation"][:, columns]},
        actions={"action": segment.actions["action"][:, columns]},
        final_observations={"observation": segment.final_observations["observation"][chosen]},
    )


@pytest.mark.slow
def test_a_run_is_the_same_however_slots_are_divided_among_actors() -> None:
    whole, halves = make_trainer(ppo=SCALED), make_trainer(ppo=SCALED)
    for number in range(3):
        segment = acted(whole, number)
        whole.update([Received("a", b"a", number, 0, segment)])
        left, right = part_of(segment, slice(0, 2)), part_of(segment, slice(2, 4))
        halves.update([Received("c", b"c", number, 2, right), Received("b", b"b", number, 0, left)])
    one, other = ({k: v for k, v in t.tensors().items() if k != "carried_returns.lives"} for t in (whole, halves))
    assert_bit_equal(one, other)


@pytest.mark.slow
def test_a_learner_that_starts_again_goes_on_bit_for_bit() -> None:
    through, before = make_trainer(ppo=SCALED), make_trainer(ppo=SCALED)
    batches = [[Received("a", b"a", number, 0, acted(through, number))] for number in range(3)]
    for batch in batches[:2]:
        through.update(batch)
        before.update(batch)
    after = make_trainer(ppo=SCALED)
    after.load(before.tensors(), before.counters())
    through.update(batches[2])
    after.update(batches[2])
    assert_bit_equal(through.tensors(), after.tensors())
    assert len(through.tensors()["carried_returns.slots"]) == E
    assert through.tensors()["carried_returns.returns"].abs().max() > 0


@pytest.mark.slow
def test_one_absurd_reward_does_not_flatten_all_others() -> None:
    rewards, plain = Rewards(SCALED), Rewards(SCALED)
    for number in range(6):
        segment = segment_of(number)
        expected = trained_on(plain, [Received("a", b"a", number, 0, segment)])
        if number == 2:
            segment.rewards[2, 1] = 1e30
        got = trained_on(rewards, [Received("a", b"a", number, 0, segment)])
    assert np.isfinite(got).all()
    assert np.abs(got).max() > 0.05 * np.abs(expected).max()


def test_rewards_are_clipped_last() -> None:
    segment = segment_of(0)
    scaled = trained_on(Rewards(SCALED), [Received("a", b"a", 0, 0, segment)])
    clipped = trained_on(Rewards(replace(SCALED, reward_clip=0.5)), [Received("a", b"a", 0, 0, segment)])
    np.testing.assert_array_equal(clipped, [min(max(r, np.float32(-0.5)), np.float32(0.5)) for r in scaled])
    assert (clipped != scaled).any()
    sign = trained_on(Rewards(replace(PPO, reward_clip=1.0)), [Received("a", b"a", 0, 0, segment)])
    assert np.abs(sign).max() == 1.0
    with pytest.raises(UsageError, match=r"ppo\.reward_clip"):
        PpoConfig(reward_clip=-1)


def test_without_the_setting_a_checkpoint_has_none_of_it() -> None:
    assert not [name for name in make_trainer().tensors() if name.startswith(("reward_scale", "carried"))]
    assert torch.is_tensor(make_trainer(ppo=SCALED).tensors()["carried_returns.slots"])


@pytest.mark.parametrize("normalised_before", [True, False])
def test_a_run_that_begins_from_another_has_its_scale_where_it_has_one(tmp_path: Path, normalised_before: bool) -> None:
    before, after = make_trainer(ppo=SCALED if normalised_before else PPO), make_trainer(ppo=SCALED)
    before.update([Received("a", b"a", 0, 0, acted(before, 0))])
    state = {"spec": msgspec.to_builtins(CONTINUOUS), "env": {}, "progress": {"steps": 1}}
    path = checkpoint.save(tmp_path / "checkpoints", 1, before.tensors(), state)
    begin_from(after, Source(tmp_path, path), CONTINUOUS)
    count = after.tensors()["reward_scale.count"].item()
    assert count == (before.tensors()["reward_scale.count"].item() if normalised_before else 0)
    assert len(after.tensors()["carried_returns.slots"]) == 0
