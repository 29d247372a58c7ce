"""What environments are given is theirs: to keep, to write into, and within their space in its own dtype."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper

from dppo.actor.envs.env_actions import EnvActions
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments


class ActionRate(gym.Env[np.ndarray, np.ndarray]):
    """Pays by how much its action has changed, and observes the previous one, as robots do."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = gym.spaces.Box(-1, 1, (2,))
        self.last = np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.last = np.zeros(2, np.float32)
        return self.last, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        rate = float(np.abs(action - self.last).sum())
        self.last = action  # no copy
        return self.last, rate, False, False, {}


class KeepsActions(VectorWrapper):
    """A native vector that does so."""

    last: Any = None

    def step(self, actions: Any) -> Any:
        observations, _, terminated, truncated, infos = super().step(actions)
        rates = np.zeros(self.num_envs) if self.last is None else np.abs(actions - self.last).sum(axis=1)
        self.last = actions
        return observations, rates, terminated, truncated, infos


@pytest.mark.parametrize("kind", ["sync", "vector"])
def test_an_environment_that_keeps_its_action_sees_it_change(kind: str) -> None:
    environments: Any = SyncLoop([ActionRate(), ActionRate()])
    if kind == "vector":
        vector = KeepsActions(SyncVectorEnv([ActionRate] * 2, autoreset_mode=AutoresetMode.DISABLED))
        environments = VectorEnvironments(vector, "test", "per_column")
    environments.reset([1, 2])
    buffer = np.zeros((2, 2), np.float32)  # as a policy's: written again at every step
    rates = []
    for value in (0.0, 0.5, -0.5):
        buffer[...] = value
        rates.append(environments.step(buffer).rewards.tolist())
    assert rates == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize("kind", ["sync", "vector"])
def test_observations_that_were_handed_out_are_not_written_again(kind: str) -> None:
    class OneBuffer(ActionRate):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            self.buffer = np.zeros(2, np.float32)
            return self.buffer, {}

        def step(self, action: np.ndarray) -> Any:
            self.buffer += 0.25
            return self.buffer, 0.0, False, False, {}

    environments: Any = SyncLoop([OneBuffer(), OneBuffer()])
    if kind == "vector":
        environments = VectorEnvironments(SyncVectorEnv([OneBuffer] * 2, copy=False), "test", "per_column")
    seen = [environments.reset([1, 2])["observation"]]
    seen += [environments.step(np.zeros((2, 2), np.float32)).observations["observation"] for _ in range(3)]
    assert [rows[0, 0] for rows in seen] == [0, 0.25, 0.5, 0.75]


def test_who_writes_into_its_action_writes_into_no_other() -> None:
    source = np.ones((2, 2), np.float32)
    first, second = EnvActions(gym.spaces.Box(-1, 1, (2,))).of_each(source)
    first[...] = 7
    assert second.tolist() == [1, 1]
    assert source.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (-0.1, 0.1), (0.3, 0.3), (-np.inf, 0.7)])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_an_action_at_a_bound_is_in_the_space(dtype: Any, low: float, high: float, shape: tuple[int, ...]) -> None:
    space = gym.spaces.Box(low, high, shape, dtype)
    for value in (-5.0, low, high, 5.0):
        # as the graph clips
        clipped = np.clip(np.full((2, *shape), value, np.float32), space.low, space.high).astype(np.float32)
        for action in EnvActions(space).of_each(clipped):
            assert isinstance(action, np.ndarray)
            assert space.contains(action)


@pytest.mark.parametrize("start", [0, 1, -3])
def test_choices_are_plain_integers(start: int) -> None:
    space = gym.spaces.Discrete(4, start=start)
    actions = EnvActions(space).of_each(np.arange(start, start + 4))
    assert all(type(action) is int and space.contains(action) for action in actions)
