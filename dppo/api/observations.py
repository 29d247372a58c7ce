"""Observations as people have them, to the rows that a policy's graph takes. Knows arrays; knows no environment."""

import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from dppo.actor.envs.returned_values import array_of
from dppo.protocol.errors import UsageError
from dppo.protocol.leaf_paths import Misplaced, Nest
from dppo.protocol.rollout import Leaves
from dppo.protocol.specs import Leaf

SCALED = "pictures scaled to 0..1, multiply by 255"
STACK = 6  # frames up to the caller of predict


class ObservationRows:
    """Checks and converts observations in the structure that the environment has, one of them or a batch."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        """Raises ProtocolError for leaves that form no structure."""
        self._leaves = [_LeafRows(leaf) for leaf in leaves]
        self._nest = Nest([leaf.name for leaf in leaves])

    def of(self, observation: Any) -> tuple[Leaves, bool]:
        """Rows [N, *shape] of each leaf in the graph's dtype, by name, and whether it was a batch; of one N is 1.

        Raises UsageError.
        """
        try:
            values = self._nest.leaves(observation)
        except Misplaced as error:
            hint = "" if error.name != self._nest.group else _reset_hint(observation)
            raise UsageError(f"{error}{hint}") from None
        if self._nest.ignored:
            more = ", ".join(self._nest.ignored)
            self._nest.ignored.clear()
            raise UsageError(f"the observation holds {more}, which this policy does not take")
        rows, batches = {}, {}
        for leaf, value in zip(self._leaves, values, strict=True):
            rows[leaf.name], batches[leaf.name] = leaf.of(value)
        first, *others = rows
        for name in others:
            if (batches[name], len(rows[name])) != (batches[first], len(rows[first])):
                sizes = " and ".join(
                    f"{'a batch of ' if batches[which] else ''}{len(rows[which])} of {which}" for which in (first, name)
                )
                raise UsageError(
                    f"the observation holds {sizes}: all leaves must be of one batch, or of one observation"
                )
        return rows, batches[first]


class _LeafRows:
    """Checks and converts values of one leaf: carried as actors carry them, or refused in one line."""

    def __init__(self, leaf: Leaf) -> None:
        self.name = leaf.name
        self._leaf = leaf
        self._wire = np.dtype(leaf.dtype)
        self._is_of_bytes = leaf.kind == "box" and leaf.dtype == "|u1"
        self._is_warned = False
        self._called = "the observation" if leaf.name == "observation" else leaf.name

    def of(self, value: Any) -> tuple[np.ndarray, bool]:
        """Rows [N, *shape] in the graph's dtype, and whether it was a batch; of one observation [1, *shape]."""
        array = array_of(value)
        if array is None:
            self._refuse(value, f"a {type(value).__name__} that is no array of numbers")
        if array.dtype.kind not in "fiub":
            self._refuse(value, f"a {type(value).__name__} of dtype {array.dtype}")
        shape = self._leaf.shape
        is_batch = array.ndim == len(shape) + 1
        if (array.shape[1:] if is_batch else array.shape) != shape:
            self._refuse(value, f"shape {array.shape}")
        if is_batch and not len(array):
            self._refuse(value, "a batch without rows")
        rows = self._converted(array if is_batch else array[None])
        return rows, is_batch

    def _converted(self, array: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            rows = array.astype(self._wire)
            # integers are compared as numbers, so that -1 as uint8 is not -1
            is_kept = np.isfinite(rows) if self._wire.kind == "f" else (rows == array) & ((rows < 0) == (array < 0))
        if self._leaf.kind == "discrete":
            is_kept &= (rows >= self._leaf.start) & (rows < self._leaf.start + self._leaf.categories)
        elif self._leaf.kind == "multi_discrete":
            limits = np.array([self._leaf.first_values, self._leaf.last_values], np.int64)
            first, last = limits.reshape(2, *self._leaf.shape)
            is_kept &= (rows >= first) & (rows <= last)
        if not is_kept.all():
            value = array[np.unravel_index(int(np.argmin(is_kept)), is_kept.shape)]
            hint = f", and these look like {SCALED}" if self._is_of_bytes and np.abs(array).max() <= 1 else ""
            raise UsageError(f"{self._called} holds {value}: this policy takes {self._values()}{hint}")
        if self._is_of_bytes and array.dtype.kind in "fb" and 0 < array.max() <= 1:
            self._warn_of_scale(array.dtype)
        return rows

    def _warn_of_scale(self, dtype: np.dtype[Any]) -> None:
        """Name bytes that came as numbers of 0 and 1, once: they may be meant, as on a board, or be scaled."""
        if not self._is_warned:
            self._is_warned = True
            warnings.warn(
                f"{self._called} holds {dtype} of 0 and 1, and this policy was trained on bytes from 0 to 255, of "
                f"which 1 is nearly nothing: where these are {SCALED}; where 1 is what the environment gave, "
                "pass uint8",
                stacklevel=STACK,
            )

    def _values(self) -> str:
        if self._leaf.kind == "discrete":
            return f"integers from {self._leaf.start} to {self._leaf.start + self._leaf.categories - 1}"
        if self._leaf.kind == "multi_discrete":
            first, last = self._leaf.first_values, self._leaf.last_values
            return f"integers from {_list(first)} to {_list(last)}"
        return "finite numbers" if self._wire.kind == "f" else f"what {self._wire} can hold"

    def _refuse(self, value: Any, got: str) -> NoReturn:
        shape = self._leaf.shape
        batch = f"({', '.join(['N', *map(str, shape)])}{',' if not shape else ''})"
        hint = _reset_hint(value)
        raise UsageError(f"{self._called} is {got}: this policy takes shape {shape}, or a batch of shape {batch}{hint}")


def _reset_hint(value: Any) -> str:
    is_reset = isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict)
    return ". reset() returns (observation, info): pass the observation" if is_reset else ""


def _list(values: Sequence[int]) -> str:
    return f"[{', '.join(map(str, values[:6]))}{', ...' if len(values) > 6 else ''}]"
