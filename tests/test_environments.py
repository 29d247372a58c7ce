from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from counting import ID, CountingEnv, first_observation, law, success
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper

from dppo.actor.envs.interface import successes_of
from dppo.actor.envs.make import Environments, make_environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.messages import EnvSettings

SEEDS = [3, 14, 15, 92, 65]


class DenseFinals(VectorWrapper):
    """Reports final observations as AtariVectorEnv does: one dense array, always there, without a mask."""

    def step(self, actions: Any) -> Any:
        *rest, infos = super().step(actions)
        sparse = infos.get("final_obs", [None] * self.num_envs)
        junk = np.full(4, -1, np.float32)
        return *rest, infos | {"final_obs": np.stack([junk if final is None else final for final in sparse])}


class JunkInResets(VectorWrapper):
    """Claims a reward and an end in the rows in which NEXT_STEP only resets."""

    over = np.zeros(len(SEEDS), bool)

    def step(self, actions: Any) -> Any:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        junk, self.over = self.over, terminated | truncated
        return observations, rewards + junk, terminated | junk, truncated | junk, infos


class OneBuffer(gym.ObservationWrapper):
    """Returns every observation in the same array."""

    def observation(self, observation: np.ndarray) -> np.ndarray:
        self.buffer = vars(self).get("buffer", observation.copy())
        self.buffer[...] = observation
        return self.buffer


class NoFinals(VectorWrapper):
    def step(self, actions: Any) -> Any:
        return *super().step(actions)[:4], {}


def counting_vector(mode: AutoresetMode, wrap: Any = lambda vector: vector) -> Environments:
    vector: VectorEnv = wrap(SyncVectorEnv([CountingEnv] * len(SEEDS), autoreset_mode=mode))
    return VectorEnvironments(vector, "test", "per_column")


def by_law(environments: Environments, steps: int) -> dict[str, int]:
    """Step with random actions, compare every row with the law, and count what happened."""
    random = np.random.default_rng(1)
    seen = {"valid": 0, "resets": 0, "terminated": 0, "truncated": 0, "successes": 0, "failures": 0}
    state = environments.reset(SEEDS)["observation"].copy()
    np.testing.assert_array_equal(state, [first_observation(seed, 0) for seed in SEEDS])
    over = np.zeros(len(SEEDS), bool)
    for _ in range(steps):
        actions = random.integers(3, size=len(SEEDS))
        step = environments.step(actions)
        finals = list(step.final_observations["observation"])
        for column, action in enumerate(actions):
            following = step.observations["observation"][column]
            restarted = first_observation(SEEDS[column], int(state[column][1]) + 1)
            flags = (step.terminated[column], step.truncated[column])
            succeeded: bool | None = None
            if over[column]:
                assert not step.valid[column]
                assert (step.rewards[column], *flags) == (0.0, False, False)
                np.testing.assert_array_equal(following, restarted)
                over[column] = False
            else:
                assert step.valid[column]
                expected, reward, terminated, truncated = law(state[column], action)
                assert step.rewards[column] == reward
                assert flags == (terminated, truncated and not terminated)
                if flags[1]:
                    np.testing.assert_array_equal(finals.pop(0), expected)
                ended = terminated or truncated
                succeeded = success(expected) if ended else None
                over[column] = ended and following[1] == expected[1]  # still the old episode: NEXT_STEP
                np.testing.assert_array_equal(following, restarted if ended and not over[column] else expected)
            state[column] = following
            np.testing.assert_equal(step.successes[column], np.float32(np.nan if succeeded is None else succeeded))
        assert not finals
        assert step.rewards.dtype == np.float32
        assert step.observations["observation"].dtype == np.float32
        seen["valid"] += int(step.valid.sum())
        seen["resets"] += int((~step.valid).sum())
        seen["terminated"] += int(step.terminated.sum())
        seen["truncated"] += int(step.truncated.sum())
        seen["successes"] += int((step.successes == 1).sum())
        seen["failures"] += int((step.successes == 0).sum())
    environments.close()
    assert seen["terminated"] > 10
    assert seen["truncated"] > 10
    assert seen["successes"] > 2
    assert seen["failures"] > 2
    return seen


def test_a_next_step_vector_marks_every_reset_row_as_not_valid() -> None:
    seen = by_law(counting_vector(AutoresetMode.NEXT_STEP), 60)
    assert seen["resets"] > 20
    assert seen["valid"] + seen["resets"] == 60 * len(SEEDS)


def test_a_same_step_vector_with_holes_in_its_final_observations_wastes_no_row() -> None:
    assert by_law(counting_vector(AutoresetMode.SAME_STEP), 60)["resets"] == 0


def test_a_same_step_vector_with_dense_final_observations_is_read_by_column() -> None:
    assert by_law(counting_vector(AutoresetMode.SAME_STEP, DenseFinals), 60)["resets"] == 0


def test_a_vector_without_autoreset_is_reset_by_us() -> None:
    assert by_law(counting_vector(AutoresetMode.DISABLED), 60)["resets"] == 0


def test_the_loop_resets_within_the_step_that_ended_the_episode() -> None:
    assert by_law(make_environments(EnvSettings(ID, vectorization="sync"), len(SEEDS)), 60)["resets"] == 0


@pytest.mark.slow
def test_environments_in_processes_give_the_same_transitions() -> None:
    environments = make_environments(EnvSettings(ID, vectorization="async"), len(SEEDS))
    assert "async" in environments.description
    assert by_law(environments, 60)["resets"] == 0


def test_final_observations_outlive_the_reset_of_an_environment_that_reuses_its_array() -> None:
    by_law(SyncLoop([OneBuffer(CountingEnv()) for _ in SEEDS]), 60)


def test_what_a_reset_row_claims_to_be_is_not_believed() -> None:
    environments = counting_vector(AutoresetMode.NEXT_STEP, JunkInResets)
    environments.reset(SEEDS)
    over = np.zeros(len(SEEDS), bool)
    for _ in range(10):
        step = environments.step(np.zeros(len(SEEDS), int))
        assert not (step.rewards != 0)[~step.valid].any()
        assert not (step.terminated | step.truncated)[~step.valid].any()
        assert not step.valid[over].any()
        over = step.terminated | step.truncated


def test_a_reset_by_hand_forgets_that_an_episode_had_ended() -> None:
    environments = counting_vector(AutoresetMode.NEXT_STEP)
    environments.reset(SEEDS)
    while not (step := environments.step(np.zeros(len(SEEDS), int))).terminated.any():
        pass
    assert step.valid.any()
    environments.reset(SEEDS)
    assert environments.step(np.zeros(len(SEEDS), int)).valid.all()


def test_a_truncation_without_its_final_observation_is_an_error_not_a_guess() -> None:
    environments = counting_vector(AutoresetMode.SAME_STEP, NoFinals)
    environments.reset(SEEDS)
    with pytest.raises(DppoError, match="final_obs"):
        [environments.step(np.zeros(len(SEEDS), int)) for _ in range(5)]


class DenseSuccesses(VectorWrapper):
    """Reports successes of all columns in every step, as a native vector environment does: an array without a mask."""

    def step(self, actions: Any) -> Any:
        *rest, infos = super().step(actions)
        said = infos.get("is_success", np.zeros(self.num_envs, bool))
        return *rest, {"is_success": np.asarray(said, bool)}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_successes_without_a_mask_count_for_every_column_that_ended(mode: AutoresetMode) -> None:
    environments = counting_vector(mode, DenseSuccesses)
    environments.reset(SEEDS)
    for _ in range(20):
        step = environments.step(np.zeros(len(SEEDS), int))
        np.testing.assert_array_equal(np.isnan(step.successes), ~(step.terminated | step.truncated))


@pytest.mark.parametrize("said", [None, "yes", 0.5, np.nan])
def test_a_success_that_is_neither_true_nor_false_counts_as_not_said(said: Any) -> None:
    assert np.isnan(successes_of({0: said}, np.full(1, np.nan, np.float32))).all()


def test_a_vector_that_does_not_say_how_it_resets_is_refused() -> None:
    vector = SyncVectorEnv([CountingEnv])
    del vector.metadata["autoreset_mode"]
    with pytest.raises(UsageError, match="autoreset_mode"):
        VectorEnvironments(vector, "test", "per_column")


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_discrete_observations_come_as_int64_in_every_mode(mode: AutoresetMode) -> None:
    def make() -> gym.Env:
        return gym.make("FrozenLake-v1", is_slippery=False, max_episode_steps=3)

    for environments in (
        SyncLoop([make(), make()]),
        VectorEnvironments(SyncVectorEnv([make] * 2, autoreset_mode=mode), "test", "per_column"),
    ):
        assert environments.reset([1, 2])["observation"].tolist() == [0, 0]
        environments.step(np.array([2, 1]))
        environments.step(np.array([2, 1]))
        step = environments.step(np.array([3, 0]))  # up, left: against the wall
        assert step.truncated.tolist() == [True, True]
        assert step.final_observations["observation"].tolist() == [2, 8]
        assert step.observations["observation"].dtype == np.int64


def test_action_spaces_are_seeded_with_the_columns() -> None:
    def samples() -> list[np.ndarray]:
        singles = [gym.make("Pendulum-v1") for _ in range(2)]
        SyncLoop(singles).reset([1, 2])
        return [single.action_space.sample() for single in singles]

    assert samples() == samples()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (EnvSettings("CartPol-v1"), "did you mean CartPole-v1"),
        (EnvSettings("CartPole"), "did you mean CartPole-v"),
        (EnvSettings("Qqqqqqqq"), "version included"),
        (EnvSettings("no_such_module:Some-v0"), "cannot import 'no_such_module'"),
        (EnvSettings("counting:Countin-v0"), "did you mean counting:Counting-v0"),
        (EnvSettings("Pendulum-v1", vectorization="native"), "no native vector environment"),
        (EnvSettings("Pendulum-v1", '{"gravity": 9.8, "colour": 1}'), "colour"),
        (EnvSettings("CartPole-v1", '{"colour": 1}'), "'sync' makes single environments"),
        (EnvSettings("Pendulum-v1", "{gravity}"), "not JSON"),
        (EnvSettings("Pendulum-v1", "[1]"), "JSON object"),
        (EnvSettings("odd_env:Words-v0"), r"observation\.said: the space Text is not supported.*ObservationWrapper"),
    ],
)
def test_what_cannot_be_made_says_why(settings: EnvSettings, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_environments(settings, 2)


def test_zero_environments_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        make_environments(EnvSettings("Pendulum-v1"), 0)
