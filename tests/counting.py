"""An environment whose every transition can be checked: the law is a pure function of what is observed."""

from typing import Any

import gymnasium as gym
import numpy as np

from dppo.actor.envs.make import Environments, Step

ID = "counting:Counting-v0"


def first_observation(seed: int, episode: int) -> np.ndarray:
    return np.array([seed, episode, 0, 0], np.float32)


def law(observation: np.ndarray, action: int) -> tuple[np.ndarray, float, bool, bool]:
    """(observation, reward, terminated, truncated) after `action`. Episodes last 1 to 4 steps."""
    seed, episode, step, position = (int(x) for x in observation)
    step, position = step + 1, position + action
    over = step > (seed + episode) % 4
    how = (seed + episode) % 3  # 0 terminated, 1 truncated, 2 both at once
    return (
        np.array([seed, episode, step, position], np.float32),
        float(10 * position + step),
        over and how != 1,
        over and how != 0,
    )


def success(observation: np.ndarray) -> bool | None:
    """What every info says about an observation; environments with an even seed say nothing."""
    seed, _, _, position = (int(x) for x in observation)
    return position % 2 == 0 if seed % 2 else None


def info_of(observation: np.ndarray) -> dict[str, Any]:
    said = success(observation)
    return {} if said is None else {"is_success": said}


class CountingEnv(gym.Env[np.ndarray, int]):
    """Observes (seed, episode, step, sum of actions); the seed is below 100 so that float32 holds all exactly."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (4,))
        self.action_space = gym.spaces.Discrete(3)
        self._seed, self._episode = 0, -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._seed, self._episode = seed % 100, -1
        self._episode += 1
        self._observation = first_observation(self._seed, self._episode)
        self._over = False
        return self._observation, info_of(self._observation)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert not self._over, "stepped after the end"
        self._observation, reward, terminated, truncated = law(self._observation, int(action))
        self._over = terminated or truncated
        return self._observation, reward, terminated, truncated, info_of(self._observation)


class ReusedArrays:
    """Environments whose every step comes in the same arrays."""

    def __init__(self, environments: Environments) -> None:
        self.spec, self.envs, self.description = environments.spec, environments.envs, environments.description
        self.indivisible, self.column = environments.indivisible, environments.column
        self.reset, self.restart, self.close = environments.reset, environments.restart, environments.close
        self._step, self.given = environments.step, environments.given
        self._buffers: dict[Any, np.ndarray] = {}

    def step(self, env_action: np.ndarray) -> Step:
        arrays = self._step(env_action)
        for field, array in enumerate(arrays[:7]):
            for key, value in (array if isinstance(array, dict) else {"": array}).items():
                buffer = self._buffers.setdefault((field, key, value.shape), np.empty_like(value))
                buffer[...] = value
        leaves = [
            {"observation": self._buffers[field, "observation", arrays[field]["observation"].shape]} for field in (0, 5)
        ]
        flat = [self._buffers[field, "", (self.envs,)] for field in (1, 2, 3, 4, 6)]
        return Step(leaves[0], *flat[:4], leaves[1], flat[4])


gym.register("Counting-v0", entry_point="counting:CountingEnv")
