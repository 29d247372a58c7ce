"""An environment that returns what a test says, in a step or in a reset."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

FLOATS = gym.spaces.Box(-1, 1, (2,))
BYTES = gym.spaces.Box(0, 255, (2,), np.uint8)
ZEROS = np.zeros(2, np.float32)
Answer = Callable[["Says"], Any]


class Says(gym.Env[Any, int]):
    """Returns what a test says: from the step or reset of that number on; before that what it should."""

    def __init__(
        self, space: Any = FLOATS, *, step: Answer | None = None, reset: Answer | None = None, at: int = 1
    ) -> None:
        self.observation_space, self.action_space = space, gym.spaces.Discrete(2)
        self._step, self._reset, self._at = step, reset, at
        self.steps = self.resets = 0
        self.good: Any = np.zeros(space.shape, space.dtype) if isinstance(space, gym.spaces.Box) else None
        if isinstance(space, gym.spaces.Discrete):
            self.good = int(space.start)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.resets += 1
        return self._reset(self) if self._reset and self.resets >= self._at else (self.good, {})

    def step(self, action: int) -> Any:
        self.steps += 1
        if self._step and self.steps >= self._at:
            return self._step(self)
        return self.good, 1.0, False, self.steps % 5 == 0, {}


def saying(observation: Any = ZEROS, reward: Any = 1.0, terminated: Any = False, truncated: Any = False) -> Answer:
    return lambda env: (observation, reward, terminated, truncated, {})
