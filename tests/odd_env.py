"""An environment that returns float64 in a float32 space: "odd_env:Odd-v0". Used as it is, and noted."""

from typing import Any

import gymnasium as gym
import numpy as np


class Odd(gym.Env[np.ndarray, np.int64]):
    """From its third step on, in every episode of five; raises in its `raises`-th step."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, raises: int = 0) -> None:
        self._steps, self._raises = 0, raises

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: np.int64) -> Any:
        self._steps += 1
        if self._steps == self._raises:
            raise ValueError("the simulator is gone")
        kind = np.float64 if self._steps >= 3 else np.float32
        return np.full(2, 0.1, kind), 1.0, False, self._steps % 5 == 0, {}


class Words(Odd):
    """Observes a text beside numbers."""

    observation_space = gym.spaces.Dict({"place": Odd.observation_space, "said": gym.spaces.Text(5)})


gym.register("Odd-v0", entry_point=Odd)
gym.register("Words-v0", entry_point=Words)
