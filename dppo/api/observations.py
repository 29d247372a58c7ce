"""Observations as people have them, to the rows that a policy's graph takes. Knows arrays; knows no environment."""

from typing import Any, NoReturn

import numpy as np

from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Leaf


class ObservationRows:
    """Checks and converts observations of one leaf: carried as actors carry them, or refused in one line."""

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf
        self._wire = np.dtype(leaf.dtype)

    def of(self, observation: Any) -> tuple[np.ndarray, bool]:
        """Rows [N, *shape] in the graph's dtype, and whether it was a batch; of one observation [1, *shape]."""
        try:
            array = np.asarray(observation)
        except ValueError:  # rows of different lengths
            self._refuse(observation, f"a {type(observation).__name__} that is no array")
        if array.dtype.kind not in "fiub":
            self._refuse(observation, f"a {type(observation).__name__} of dtype {array.dtype}")
        shape = self._leaf.shape
        is_batch = array.ndim == len(shape) + 1
        if (array.shape[1:] if is_batch else array.shape) != shape:
            self._refuse(observation, f"shape {array.shape}")
        if is_batch and not len(array):
            self._refuse(observation, "a batch without rows")
        rows = self._converted(array)
        return (rows if is_batch else rows[None]), is_batch

    def _converted(self, array: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            rows = array.astype(self._wire)
            # integers are compared as numbers, so that -1 as uint8 is not -1
            is_kept = np.isfinite(rows) if self._wire.kind == "f" else (rows == array) & ((rows < 0) == (array < 0))
        if self._leaf.kind == "discrete":
            is_kept &= (rows >= self._leaf.start) & (rows < self._leaf.start + self._leaf.categories)
        if not is_kept.all():
            value = array[np.unravel_index(int(np.argmin(is_kept)), is_kept.shape)]
            raise UsageError(f"the observation holds {value}: this policy takes {self._values()}")
        return rows

    def _values(self) -> str:
        if self._leaf.kind == "discrete":
            return f"integers from {self._leaf.start} to {self._leaf.start + self._leaf.categories - 1}"
        return "finite numbers" if self._wire.kind == "f" else f"what {self._wire} can hold"

    def _refuse(self, observation: Any, got: str) -> NoReturn:
        shape = self._leaf.shape
        batch = f"({', '.join(['N', *map(str, shape)])}{',' * (not shape)})"
        is_reset = isinstance(observation, tuple) and len(observation) == 2 and isinstance(observation[1], dict)
        hint = ". reset() returns (observation, info): pass the observation" if is_reset else ""
        raise UsageError(
            f"the observation is {got}: this policy takes shape {shape}, or a batch of shape {batch}{hint}"
        )
