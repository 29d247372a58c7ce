"""Actions of a policy's graph as the environment takes them: its dtypes, its dicts and tuples. Knows numpy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dppo.protocol.leaf_paths import Nest
from dppo.protocol.leaves import Leaf
from dppo.protocol.rollout import Leaves


class PredictedActions:
    """Actions of one spec."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        """Raises ProtocolError where the leaves form no structure."""
        self._leaves = leaves
        self._nest = Nest([leaf.name for leaf in leaves])

    def of(self, env_action: np.ndarray | Leaves, *, is_batch: bool) -> Any:
        """The action of env_action [1, ...], or a batch of them [N, ...]; copies."""
        if isinstance(env_action, np.ndarray):
            return _copied(self._leaves[0], env_action, is_batch=is_batch)
        arrays = [_copied(leaf, env_action[f"env_{leaf.name}"], is_batch=is_batch) for leaf in self._leaves]
        return self._nest.nested(arrays)


def _copied(leaf: Leaf, env_action: np.ndarray, *, is_batch: bool) -> Any:
    actions = np.empty(env_action.shape, leaf.env_dtype or leaf.dtype)  # numpy.array would keep onnxruntime's longlong
    actions[...] = env_action
    if is_batch:
        return actions
    return actions[0] if leaf.kind == "discrete" else actions[0, ...]
