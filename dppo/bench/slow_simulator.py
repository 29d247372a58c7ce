"""A simulator that is slower than it is: a wrapper that sleeps. Knows Gymnasium; `dppo bench slow` names it."""

import time
from typing import Any

import gymnasium as gym


class Slow(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose steps take a given time longer.

    An actor steps its environments one after the other, and simulators at the same time. So only its first environment
    sleeps: a row of all of them takes as long as one step, as of simulators in lock step. Sleeping takes no CPU.
    """

    def __init__(self, env: gym.Env[Any, Any], milliseconds: float, column: int = 0) -> None:
        super().__init__(env)
        self._seconds = 0.0 if column else milliseconds / 1000

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step it, and wait."""
        if self._seconds:
            time.sleep(self._seconds)
        return self.env.step(action)
