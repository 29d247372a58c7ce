import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from counting import ID, CountingEnv, ReusedArrays, law, success
from graphs import categorical_graph, gaussian_graph, tabular_graph
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.actor.envs.make import Environments, make_environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import FIRST_CAPACITY, Collector
from dppo.actor.sampling.noise import NoiseStream
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.protocol.messages import EnvSettings
from dppo.protocol.rollout import Segment, pack, unpack

EVEN = PolicyRunner(categorical_graph(np.zeros((4, 3))))  # every action of CountingEnv equally often
SEGMENT_ARRAYS = [field.name for field in dataclasses.fields(Segment)]


def counting(envs: int, mode: AutoresetMode | None) -> Environments:
    if mode is None:
        return make_environments(EnvSettings(ID, vectorization="sync"), envs)
    return VectorEnvironments(SyncVectorEnv([CountingEnv] * envs, autoreset_mode=mode), "test", "per_column")


def collector(environments: Environments, runner: PolicyRunner = EVEN, first_slot: int = 0) -> Collector:
    made = Collector(environments, seed=5, first_slot=first_slot, life=0)
    made.load(runner)
    return made


def collect(source: Collector, rows: int) -> Segment:
    for _ in range(rows):
        source.step()
    segment = source.cut()
    assert segment is not None
    return segment


def check_rows(segment: Segment) -> None:
    """Every valid row follows the environment's law; every final observation is the true one, in row-major order."""
    finals = list(segment.final_observations["observation"])
    T, E = segment.rewards.shape
    for t in range(T):
        for column in range(E):
            if not segment.valid[t, column]:
                assert segment.rewards[t, column] == 0
                assert not segment.terminated[t, column]
                assert not segment.truncated[t, column]
                continue
            state, following = (segment.observations["observation"][row, column] for row in (t, t + 1))
            expected, reward, terminated, truncated = law(state, int(segment.actions["action"][t, column]))
            assert segment.rewards[t, column] == reward
            assert segment.terminated[t, column] == terminated
            assert segment.truncated[t, column] == (truncated and not terminated)
            if segment.truncated[t, column]:
                np.testing.assert_array_equal(finals.pop(0), expected)
            if not (terminated or truncated):
                np.testing.assert_array_equal(following, expected)
    assert not finals


def slow_episodes(segments: list[Segment]) -> list[list[tuple[float, int, int, float]]]:
    """(return, length, column, success) of the episodes that ended in each segment, added up row by row.

    Success by the law; -1 where the environment does not say.
    """
    envs = segments[0].rewards.shape[1]
    returns, lengths = [0.0] * envs, [0] * envs
    by_segment = []
    for segment in segments:
        episodes = []
        for t in range(len(segment.rewards)):
            for column in range(envs):
                returns[column] += float(segment.rewards[t, column])
                lengths[column] += int(segment.valid[t, column])
                if segment.terminated[t, column] or segment.truncated[t, column]:
                    before, action = segment.observations["observation"][t, column], segment.actions["action"]
                    said = success(law(before, int(action[t, column]))[0])
                    episodes.append((returns[column], lengths[column], column, -1.0 if said is None else float(said)))
                    returns[column], lengths[column] = 0.0, 0
        by_segment.append(episodes)
    return by_segment


def told_episodes(segment: Segment) -> list[tuple[float, int, int, float]]:
    successes = np.nan_to_num(segment.episode_successes, nan=-1.0)
    told = (segment.episode_returns, segment.episode_lengths, segment.episode_columns, successes)
    return list(zip(*(array.tolist() for array in told), strict=True))


@given(
    st.sampled_from([None, AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]),
    st.integers(1, 4),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_segments_continue_each_other_follow_the_law_and_tell_every_episode_once(
    mode: AutoresetMode | None, envs: int, lengths: list[int]
) -> None:
    source = collector(counting(envs, mode))
    segments = []
    observation = None
    for length in lengths:
        for row in range(length):
            assert source.rows == row
            source.step()
        segment = source.cut()
        assert source.rows == 0
        if segment is None:  # nothing but resets: only possible where a reset takes a row
            assert mode is AutoresetMode.NEXT_STEP
            assert length == 1
            observation = None
            continue
        check_rows(segment)
        assert segment.steps == segment.valid.sum() > 0
        assert len(segment.rewards) == length
        if observation is not None:
            np.testing.assert_array_equal(segment.observations["observation"][0], observation)
        observation = segment.observations["observation"][-1]
        segments.append(segment)
    if segments:
        assert [told_episodes(segment) for segment in segments] == slow_episodes(segments)


def test_a_single_next_step_environment_cut_after_every_row_loses_no_step_and_no_episode() -> None:
    source = collector(counting(1, AutoresetMode.NEXT_STEP))
    whole = collect(collector(counting(1, AutoresetMode.NEXT_STEP)), 40)
    parts = []
    for row in range(40):
        source.step()
        segment = source.cut()
        assert (segment is None) == (not whole.valid[row, 0])
        if segment is not None:
            parts.append(segment)
    np.testing.assert_array_equal(np.concatenate([part.rewards for part in parts]), whole.rewards[whole.valid[:, 0]])
    assert [episode for part in parts for episode in told_episodes(part)] == told_episodes(whole)


def test_discarded_rows_are_counted_and_their_episodes_told_with_the_next_segment() -> None:
    source, reference = (collector(counting(2, AutoresetMode.NEXT_STEP)) for _ in range(2))
    whole = [collect(reference, rows) for rows in (7, 6, 5)]
    for segment in whole[:2]:
        for _ in range(len(segment.rewards)):
            source.step()
        assert source.discard() == segment.steps
    assert source.discard() == 0
    last = collect(source, 5)
    assert told_episodes(last) == [episode for segment in whole for episode in told_episodes(segment)]
    np.testing.assert_array_equal(last.observations["observation"], whole[2].observations["observation"])
    assert last.episode_returns.dtype == np.float32
    assert len(told_episodes(whole[0])) > 0
    assert told_episodes(collect(source, 4)) == told_episodes(collect(reference, 4))


def test_there_is_nothing_to_cut_before_the_first_step_or_right_after_a_cut() -> None:
    source = collector(counting(2, None))
    assert source.cut() is None
    collect(source, 3)
    assert source.cut() is None


def test_a_cut_segment_is_never_written_to_again() -> None:
    source = collector(make_environments(EnvSettings("CartPole-v1"), 3), PolicyRunner(categorical_graph(np.eye(4, 2))))
    segments = [collect(source, rows) for rows in (FIRST_CAPACITY, 5, 40)]
    spec = make_environments(EnvSettings("CartPole-v1"), 3).spec
    kept = [bytes(pack(spec, segment)) for segment in segments]
    collect(source, 200)
    assert [bytes(pack(spec, segment)) for segment in segments] == kept


def test_environments_may_reuse_the_arrays_of_a_step() -> None:
    check_rows(collect(collector(ReusedArrays(counting(3, None))), 60))


def test_a_segment_longer_than_the_room_for_it_loses_nothing() -> None:
    rows = 2 * FIRST_CAPACITY + 7
    long = collect(collector(counting(2, None)), rows)
    check_rows(long)
    source = collector(counting(2, None))
    short = [collect(source, 1) for _ in range(rows)]
    np.testing.assert_array_equal(long.rewards, np.concatenate([segment.rewards for segment in short]))


def test_a_segment_that_was_cut_short_leaves_the_next_one_its_room() -> None:
    source = collector(counting(2, None))
    room = source._open.capacity
    collect(source, 1)
    source.step()
    assert source._open.capacity == room


def test_a_segment_survives_the_wire() -> None:
    environments = counting(3, AutoresetMode.NEXT_STEP)
    segment = collect(collector(environments), 30)
    again = unpack(environments.spec, segment.counts, pack(environments.spec, segment))
    for name in SEGMENT_ARRAYS:
        before, after = getattr(segment, name), getattr(again, name)
        for key in before if isinstance(before, dict) else [...]:
            np.testing.assert_array_equal(before[key], after[key])
            assert before[key].dtype == after[key].dtype


def test_actions_are_stored_as_sampled_while_the_environment_gets_them_clipped() -> None:
    weights, log_std = np.array([[1.0], [0.5], [-0.25]]), np.array([0.7])
    runner = PolicyRunner(gaussian_graph(weights, log_std, bound=2.0))
    segment = collect(collector(make_environments(EnvSettings("Pendulum-v1"), 2), runner, first_slot=3), 20)
    stream = NoiseStream(5, first_slot=3, envs=2, life=0, kind="normal", size=1)
    noise = np.stack([stream.next() for _ in range(20)])
    expected = segment.observations["observation"][:-1] @ weights + np.exp(0.7) * noise
    np.testing.assert_allclose(segment.actions["action"], expected, rtol=1e-4, atol=1e-5)
    log_probs = -(noise[..., 0] ** 2) / 2 - 0.7 - np.log(2 * np.pi) / 2
    np.testing.assert_allclose(segment.behaviour_log_probs, log_probs, rtol=1e-4, atol=1e-5)
    assert (np.abs(segment.actions["action"]) > 2).any()
    np.testing.assert_allclose(segment.rewards, pendulum_rewards(segment), rtol=1e-3, atol=1e-3)


def pendulum_rewards(segment: Segment) -> np.ndarray:
    """-(angle^2 + 0.1 speed^2 + 0.001 torque^2), with the torque within +-2."""
    cosine, sine, speed = np.moveaxis(segment.observations["observation"][:-1], -1, 0)
    torque = np.clip(segment.actions["action"][..., 0], -2, 2)
    return -(np.arctan2(sine, cosine) ** 2 + 0.1 * speed**2 + 0.001 * torque**2)


def test_discrete_observations_and_actions_are_recorded_as_int64() -> None:
    runner = PolicyRunner(tabular_graph(np.zeros((16, 4))))
    lake: dict[str, Any] = {"is_slippery": False, "max_episode_steps": 5}
    segment = collect(collector(SyncLoop([gym.make("FrozenLake-v1", **lake) for _ in range(3)]), runner), 50)
    places, actions = segment.observations["observation"], segment.actions["action"]
    assert (places.dtype, places.shape, actions.dtype, actions.shape) == (np.int64, (51, 3), np.int64, (50, 3))
    running = ~(segment.terminated | segment.truncated)
    row, column = np.divmod(places[:-1], 4)
    row = np.clip(row + (actions == 1) - (actions == 3), 0, 3)
    column = np.clip(column + (actions == 2) - (actions == 0), 0, 3)
    np.testing.assert_array_equal(places[1:][running], (4 * row + column)[running])
    assert (places[1:][~running] == 0).all()
    np.testing.assert_array_equal(segment.final_observations["observation"], (4 * row + column)[segment.truncated])


def test_what_a_slot_does_is_the_same_however_slots_are_grouped() -> None:
    together = collect(collector(counting(5, None)), 30)
    apart = [collect(collector(counting(envs, None), first_slot=first), 30) for first, envs in ((0, 2), (2, 1), (3, 2))]
    for name in ("actions", "observations"):
        key = name.rstrip("s")
        joined = np.concatenate([getattr(segment, name)[key] for segment in apart], axis=1)
        np.testing.assert_array_equal(joined, getattr(together, name)[key])


def test_a_new_policy_acts_from_the_next_step_on_and_noise_goes_on() -> None:
    source = collector(counting(2, None))
    collect(source, 4)
    always_two = PolicyRunner(categorical_graph(np.tile([-1e6, -1e6, 1e6], (4, 1)), version=2))
    source.load(always_two)
    # seed, episode, step and position are not negative and seeds are positive, so the last logit wins
    assert (collect(source, 6).actions["action"] == 2).all()
    source.load(EVEN)
    reference = collect(collector(counting(2, None)), 20)
    stream = NoiseStream(5, first_slot=0, envs=2, life=0, kind="gumbel", size=3)
    actions = np.stack([stream.next() for _ in range(20)]).argmax(axis=2)
    np.testing.assert_array_equal(reference.actions["action"], actions)
    np.testing.assert_array_equal(collect(source, 10).actions["action"], actions[10:])


def test_a_policy_is_not_swapped_inside_a_segment() -> None:
    source = collector(counting(2, None))
    source.step()
    with pytest.raises(ValueError, match="cut the open segment of 1 rows"):
        source.load(EVEN)


def test_a_step_without_a_policy_is_refused() -> None:
    source = Collector(counting(2, None), seed=5, first_slot=0, life=0)
    with pytest.raises(ValueError, match="load a policy"):
        source.step()


def test_time_is_told_apart_and_can_be_set_back() -> None:
    source = collector(counting(2, None))
    collect(source, 3)
    assert source.env_seconds > 0
    assert source.policy_seconds > 0
    source.env_seconds = source.policy_seconds = 0.0
