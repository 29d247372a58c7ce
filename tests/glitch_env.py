"""An environment whose simulator glitches: one finite but absurd number in one observation element or one reward."""

from typing import Any

import gymnasium as gym
import numpy as np


class Glitches(gym.Wrapper[Any, Any, Any, Any]):
    """Counts the steps of all environments of this process; glitches at `at`, then every `every` steps (0: once)."""

    steps = 0

    def __init__(self, env: gym.Env[Any, Any], what: str, value: float, at: int, every: int) -> None:
        super().__init__(env)
        self._what, self._value, self._at, self._every = what, value, at, every

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """A step of the environment, wrong where it is time."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        Glitches.steps += 1
        late = Glitches.steps - self._at
        if late == 0 or (late > 0 and self._every and late % self._every == 0):
            if self._what == "reward":
                reward = self._value
            else:
                observation = np.array(observation)
                observation[1] = self._value
        return observation, reward, terminated, truncated, info


def make(base: str, what: str, value: float, at: int, every: int = 0, **kwargs: Any) -> gym.Env[Any, Any]:
    """The environment `base` with glitches."""
    return Glitches(gym.make(base, **kwargs), what, value, at, every)


gym.register("Glitch-v0", entry_point=make)
