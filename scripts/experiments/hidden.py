"""A task that takes a memory: CartPole that shows where cart and pole are, and not how fast they move."""

from typing import Any

import gymnasium as gym
import numpy as np


class HiddenVelocities(gym.ObservationWrapper[np.ndarray, Any, np.ndarray]):
    """Positions of cart and pole alone."""

    def __init__(self, env: gym.Env[np.ndarray, Any]) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Return [2] of [4]."""
        return observation[[0, 2]]
