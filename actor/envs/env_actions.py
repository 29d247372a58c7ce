"""Actions as environments get them, from the graph's env_action: own copies, in the space's dtypes and structure.

Environments keep the action that they were given (as the previous one, for a penalty or an observation) and write into
it; the graph writes its next output over its last. So nothing that leaves here is written again. Knows action spaces.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from dppo.protocol.leaf_paths import Nest, leaf_name
from dppo.protocol.leaves import leaf_spaces
from dppo.protocol.rollout import Leaves


class EnvActions:
    """Actions of one action space that is not nested."""

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


class NestedActions:
    """Actions of a Dict or a Tuple."""

    def __init__(self, space: gym.Space[Any]) -> None:
        spaces = {leaf_name("env_action", path): inner for path, inner in leaf_spaces(space, "action")}
        self._leaves = {name: EnvActions(inner) for name, inner in spaces.items()}
        self._nest = Nest(list(spaces))

    def of_each(self, env_action: Leaves) -> Sequence[Any]:
        """One action for each environment, of the leaves [E, ...] by name."""
        columns = zip(*(leaf.of_each(env_action[name]) for name, leaf in self._leaves.items()), strict=True)
        return [self._nest.nested(column) for column in columns]

    def of_all(self, env_action: Leaves) -> Any:
        """Arrays [E, ...] in the structure of the space, for a vector."""
        return self._nest.nested([leaf.of_all(env_action[name]) for name, leaf in self._leaves.items()])


def actions_for(space: gym.Space[Any]) -> Any:
    """EnvActions, or NestedActions for a Dict or a Tuple: each takes what its graph gives."""
    return (NestedActions if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple) else EnvActions)(space)
