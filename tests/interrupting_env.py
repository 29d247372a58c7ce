"""An environment that raises KeyboardInterrupt, or handles Ctrl-C itself: "interrupting_env:Interrupting-v0"."""

import os
import signal
from typing import Any

import gymnasium as gym
import numpy as np


class Interrupting(gym.Env[np.ndarray, np.int64]):
    """Does it in its twelfth step; one that ignores Ctrl-C is sent it in each step after the fortieth."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, how: str) -> None:
        self._steps, self._how = 0, how

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: np.int64) -> Any:
        self._steps += 1
        if self._steps == 12:
            if self._how == "raises":
                raise KeyboardInterrupt
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._how == "ignores" and self._steps > 40 and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            self._how = "ignored"
            os.kill(os.getpid(), signal.SIGINT)
        return np.zeros(2, np.float32), 1.0, False, self._steps % 5 == 0, {}


gym.register("Interrupting-v0", entry_point=Interrupting)
