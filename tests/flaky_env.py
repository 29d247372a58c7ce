"""An environment that plays one episode well, and fails in what follows it: "flaky_env:Flaky-v0"."""

from typing import Any

import gymnasium as gym
import numpy as np


class Flaky(gym.Env[np.ndarray, np.int64]):
    """Episodes of 3 to 6 steps, by seed. `how` says what fails: the reset after one ("reset"), each step after that
    ("step"), or the second step of an episode whose seed is odd ("odd").
    """

    observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, how: str = "reset") -> None:
        self._how = how
        self._steps = self._seed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        if seed is None and self._how == "reset":
            raise RuntimeError("the simulator lost its licence")
        self._steps = 0 if seed is not None else 100
        self._seed = self._seed if seed is None else seed
        return np.zeros(4, np.float32), {}

    def step(self, action: np.int64) -> Any:
        self._steps += 1
        if (self._steps > 100 and self._how == "step") or (self._steps == 2 and self._seed % 2 and self._how == "odd"):
            raise RuntimeError("the simulator lost its licence")
        return np.zeros(4, np.float32), 1.0, self._steps >= 3 + self._seed % 4, False, {}


gym.register("Flaky-v0", entry_point=Flaky)
