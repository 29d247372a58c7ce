"""An environment with numbers of its own in its infos, alone and as a vector."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv


class Telling(gym.Env[Any, Any]):
    """Three steps an episode; says how far it is in every info, and other things in the last one."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        is_over = self.steps == 3
        info: dict[str, Any] = {"progress": self.steps, "text": "three"}
        if is_over:
            info |= {"distance": np.float64(0.25), "is_good": True, "huge": 1e300, "nothing": None}
        return np.zeros(1, np.float32), 1.0, is_over, False, info


class TellingVector(VectorEnv[Any, Any, Any]):
    """The same for E environments, of which only even columns say how far they are from the goal."""

    def __init__(self, num_envs: int, **_: Any) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space, self.single_action_space = Telling.observation_space, Telling.action_space
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.steps = 0

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return np.zeros((self.num_envs, 1), np.float32), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.steps = 0 if self.steps == 3 else self.steps + 1
        ended = np.full(self.num_envs, self.steps == 3)
        far = np.arange(self.num_envs) / 4
        info = {"distance": far, "_distance": np.arange(self.num_envs) % 2 == 0} if self.steps == 3 else {}
        return np.zeros((self.num_envs, 1), np.float32), np.ones(self.num_envs), ended, ~ended & ended, info


gym.register("Telling-v0", entry_point=Telling)
gym.register("TellingVector-v0", entry_point=Telling, vector_entry_point=TellingVector)
