"""A CartPole whose steps take a given time, longer for one actor: for the picture of a timeline, and its test."""

import time
from typing import Any

import gymnasium as gym


class Paced(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that sleeps before each step. Sleeping takes no CPU."""

    def __init__(self, env: gym.Env[Any, Any], seconds: float) -> None:
        super().__init__(env)
        self._seconds = seconds

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Wait, and step it."""
        time.sleep(self._seconds)
        return self.env.step(action)


def make(actor: str, seconds: float = 0.001, slow_actor: str = "", slow_seconds: float = 0.01) -> gym.Env[Any, Any]:
    """Return the environment of that actor."""
    return Paced(gym.make("CartPole-v1"), slow_seconds if actor == slow_actor else seconds)
