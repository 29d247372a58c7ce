"""An environment that changes what its whole process shares: "rude_env:Rude-v0"."""

import io
import os
import sys
from typing import Any

import gymnasium as gym
import numpy as np


class Rude(gym.Env[np.ndarray, np.int64]):
    """Does it in its twelfth step, and never undoes it."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, how: str) -> None:
        self._steps, self._how = 0, how.removesuffix(" at once")
        if how != self._how:
            self._act()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: np.int64) -> Any:
        self._steps += 1
        if self._steps == 12:
            self._act()
        return np.zeros(2, np.float32), 1.0, False, self._steps % 5 == 0, {}

    def _act(self) -> None:
        if self._how == "replaced":
            sys.stdout = sys.stderr = io.StringIO()
        elif self._how == "none":
            vars(sys).update(stdout=None, stderr=None)
        elif self._how == "closed":
            sys.stdout.close()
            sys.stderr.close()
        elif self._how == "redirected":
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
        elif self._how == "umask":
            os.umask(0o777)


gym.register("Rude-v0", entry_point=Rude)
