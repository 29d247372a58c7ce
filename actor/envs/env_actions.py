"""Actions as environments get them, from the graph's env_action: own copies, within the space, in its dtype.

Environments keep the action that they were given (as the previous one, for a penalty or an observation) and write into
it; the graph writes its next output over its last. So nothing that leaves here is written again. Knows action spaces.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np


class EnvActions:
    """Actions of one action space."""

    def __init__(self, space: gym.Space[Any]) -> None:
        self._dtype = space.dtype
        self._discrete = isinstance(space, gym.spaces.Discrete)
        self._scalar = space.shape == ()
        self._low: np.ndarray | None = None
        if isinstance(space, gym.spaces.Box) and space.dtype != np.float32:
            # the graph clips in float32: a bound of 0.1 in float64 lies between two of its numbers
            self._low, self._high = space.low, space.high

    def of_each(self, env_action: np.ndarray) -> Sequence[Any]:
        """One action for each environment, of env_action [E, ...]."""
        if self._discrete:
            actions: list[int] = env_action.tolist()  # plain ints: what every environment takes
            return actions
        copied = self.of_all(env_action)
        if self._scalar:  # arrays without dimensions, which numbers are not
            return [copied[column, ...] for column in range(len(copied))]
        return list(copied)

    def of_all(self, env_action: np.ndarray) -> np.ndarray:
        """One array [E, ...] for a vector."""
        copied = np.array(env_action, self._dtype)
        if self._low is not None:
            np.maximum(copied, self._low, out=copied)
            np.minimum(copied, self._high, out=copied)
        return copied
