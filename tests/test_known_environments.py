"""CartPole and Pendulum: native and looped vectors move as single environments do."""

import gymnasium as gym
import numpy as np

from dppo.actor.envs.make import make_environments
from dppo.protocol.messages import EnvSettings


def test_native_cart_pole_moves_as_the_single_one_does_and_hides_its_resets() -> None:
    environments = make_environments(EnvSettings("CartPole-v1"), 6)
    assert environments.description.startswith("native: CartPoleVectorEnv")
    single = gym.make("CartPole-v1", disable_env_checker=True).unwrapped
    random = np.random.default_rng(0)
    state = environments.reset(range(6))["observation"]
    over = np.zeros(6, bool)
    for _ in range(100):
        actions = random.integers(2, size=6)
        step = environments.step(actions)
        np.testing.assert_array_equal(step.valid, ~over)
        for column in np.flatnonzero(step.valid):
            single.reset()
            single.state = state[column]
            expected, reward, terminated, _, _ = single.step(actions[column])
            np.testing.assert_allclose(step.observations["observation"][column], expected, atol=1e-5)
            assert (step.rewards[column], step.terminated[column]) == (reward, terminated)
        assert not step.rewards[over].any()
        assert not (step.terminated | step.truncated)[over].any()
        over = step.terminated | step.truncated
        state = step.observations["observation"]
    assert not step.truncated.any()


def test_native_cart_pole_is_truncated_after_500_steps() -> None:
    environments = make_environments(EnvSettings("CartPole-v1", vectorization="native"), 3)
    state = environments.reset([1, 2, 3])["observation"]
    lengths = np.zeros(3, int)
    for _ in range(500):
        x, speed, angle, turning = state.T
        step = environments.step((0.05 * x + 0.1 * speed + angle + 0.3 * turning > 0).astype(int))
        state = step.observations["observation"]
        lengths += step.valid
    assert lengths.tolist() == [500, 500, 500]
    assert step.truncated.all()
    np.testing.assert_array_equal(step.final_observations["observation"], state)
    assert not environments.step(np.ones(3, int)).valid.any()


def test_native_time_limits_follow_the_keyword_arguments() -> None:
    environments = make_environments(EnvSettings("CartPole-v1", '{"max_episode_steps": 2}'), 2)
    environments.reset([1, 2])
    assert not environments.step(np.zeros(2, int)).truncated.any()
    assert environments.step(np.zeros(2, int)).truncated.all()


def test_native_cart_pole_repeats_itself_with_the_same_seeds_only() -> None:
    def first(seeds: list[int]) -> np.ndarray:
        return make_environments(EnvSettings("CartPole-v1"), 2).reset(seeds)["observation"]

    np.testing.assert_array_equal(first([5, 6]), first([5, 6]))
    assert not np.array_equal(first([5, 6]), first([6, 5]))


def test_pendulum_is_what_single_environments_with_the_same_seeds_and_actions_do() -> None:
    environments = make_environments(EnvSettings("Pendulum-v1"), 2)
    assert environments.description.startswith("sync")
    singles = [gym.make("Pendulum-v1") for _ in range(2)]
    seeds = [11, 12]
    firsts = [single.reset(seed=seed)[0] for single, seed in zip(singles, seeds, strict=True)]
    np.testing.assert_array_equal(environments.reset(seeds)["observation"], firsts)
    random = np.random.default_rng(2)
    for t in range(203):
        actions = random.uniform(-2, 2, (2, 1)).astype(np.float32)
        step = environments.step(actions)
        results = [single.step(action) for single, action in zip(singles, actions, strict=True)]
        np.testing.assert_array_equal(step.rewards, np.float32([result[1] for result in results]))
        assert step.truncated.tolist() == [t == 199, t == 199]
        assert not step.terminated.any()
        expected = [result[0] for result in results]
        if t == 199:
            np.testing.assert_array_equal(step.final_observations["observation"], expected)
            expected = [single.reset()[0] for single in singles]
        else:
            assert step.final_observations["observation"].shape == (0, 3)
        np.testing.assert_array_equal(step.observations["observation"], expected)
