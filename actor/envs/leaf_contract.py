"""Check a leaf of an observation against its own space: carry it without loss, or reject it.

Names the leaf, what was expected and what came. Knows values and spaces; steps nothing.
"""

import operator
from collections.abc import Callable
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np

from dppo.actor.envs.returned_values import BrokenContract, array_of, element, kind_of, short
from dppo.protocol.specs import Leaf

INTEGERS = frozenset((int, np.int64, np.int32))
FEW = 32  # elements, up to which a loop is faster
NUMBERS = "fiub"  # kinds of dtypes


class LeafContract:
    """Contract of a leaf of one environment, or of a vector whose arrays have a row for each environment."""

    def __init__(self, space: gym.Space[Any], leaf: Leaf, note_once: Callable[[str], None], envs: int | None) -> None:
        """space: of the leaf. envs: rows of a vector's arrays; None: a single environment."""
        self._space = space
        self._leaf = leaf
        self._note_once = note_once
        self._envs = envs
        self.wire = np.dtype(leaf.dtype)
        self.shape = (*(() if envs is None else (envs,)), *leaf.shape)
        self._dtype = np.dtype(np.int64) if space.dtype is None else np.dtype(space.dtype)
        # dtypes of which every value can be carried, as far as the space promises
        self.accepted = {self.wire.char, self._dtype.char} | set("lq" if self.wire.itemsize == 8 else "")
        if self.wire.kind == "f":
            self.accepted |= set(np.typecodes["Float"] * (self._dtype.itemsize > 4)) | set("?bBhHe")
        self.has_choices = leaf.kind != "box"  # so its values are checked, whatever their dtype
        self.is_number = leaf.kind == "discrete" and envs is None
        self.first, self.last = _choices(leaf)
        few = self.has_choices and envs is None and leaf.elements <= FEW
        sides = [np.broadcast_to(side, leaf.shape).ravel().tolist() for side in (self.first, self.last)]
        self._firsts, self._lasts = sides if few else ([], [])

    def taken(self, value: Any, method: str) -> Any:
        """The value as an array of the wire's dtype, or as one that fits into it. Raises BrokenContract."""
        if type(value) is np.ndarray and value.shape == self.shape and value.dtype.char in self.accepted:
            if not self.has_choices:
                return value
            array: np.ndarray | None = value
        elif self.is_number and type(value) in INTEGERS and self.first <= value <= self.last:
            return value
        else:
            array = array_of(value)
        if array is None or array.dtype.kind not in NUMBERS:
            self._refuse(method, f"{short(value)} ({kind_of(value)})")
        if array.shape != self.shape:
            got = f"shape {array.shape}" if array.shape else f"the {type(value).__name__} {short(value)}"
            self._refuse(method, got)
        if array.dtype.char not in self.accepted:
            array = self._converted(array, method)
        if self.has_choices and not self._holds_choices(array):
            self._refuse(method, short(value))
        return array

    def _holds_choices(self, array: np.ndarray) -> bool:
        """Whether all elements are among the leaf's choices. 0.6 us for a few of them, where NumPy takes 5."""
        if array.size != len(self._firsts):
            return bool(((self.first <= array) & (array <= self.last)).all())
        values = array.ravel().tolist()
        return all(map(operator.le, self._firsts, values)) and all(map(operator.le, values, self._lasts))

    def _converted(self, array: np.ndarray, method: str) -> np.ndarray:
        """An array of another dtype than the space's in the wire's. Raises BrokenContract where it loses something."""
        if self.wire.kind == "f":
            self._note_rounding(array, method)
            return array if array.dtype.kind == "f" else array.astype(np.float64)
        with np.errstate(all="ignore"):
            converted = array.astype(self.wire)
            # the way back shows what was cut off; compared as numbers, so that -1 as uint8 is not -1
            same = (converted == array) & ((converted < 0) == (array < 0))
        if not same.all():
            where = np.unravel_index(int(np.argmin(same)), same.shape)
            self._refuse(method, f"{array.dtype} with values that it cannot hold ({array[where]!s}{element(where)})")
        self._note_dtype(array, method)
        return converted

    def _note_rounding(self, array: np.ndarray, method: str) -> None:
        """Note that integers, or floats wider than the space's, are rounded to float32."""
        with np.errstate(all="ignore"):
            if array.dtype.kind in "iu" and bool((array.astype(np.float32).astype(array.dtype) == array).all()):
                return
        self.accepted.add(array.dtype.char)
        self._note_once(
            f"{method}() returns {self._observations} of dtype {array.dtype} where the space says {self._dtype}: "
            "they are rounded to float32",
        )

    def _note_dtype(self, array: np.ndarray, method: str) -> None:
        if array.dtype.kind == "f":
            self._note_once(
                f"{method}() returns {self._observations} of dtype {array.dtype} where the space says {self._dtype}: "
                "whole numbers are carried, any other would be an error",
            )

    @property
    def _observations(self) -> str:
        return "observations" if self._leaf.name == "observation" else self._leaf.name

    def _refuse(self, method: str, got: str) -> NoReturn:
        name, space = self._leaf.name, short(self._space)
        if name == "observation":
            of, says = "the observation", f"the observation_space {space} says"
        else:
            of, says = name, f"its space {space} says"
        if self._envs is not None:
            of = f"{self._envs} observations, each" if name == "observation" else f"{self._envs} of {name}, each"
        kinds = {"discrete": f"an integer of {space}", "box": f"{self._dtype} {self._leaf.shape}"}
        expected = kinds.get(self._leaf.kind, f"integers of {space}")
        raise BrokenContract(f"{method}() returned as {of} {got}: expected {expected}, as {says}")


def _choices(leaf: Leaf) -> tuple[Any, Any]:
    """Return the smallest and the largest value of each element: numbers, or arrays of the leaf's shape."""
    if leaf.kind == "discrete":
        return leaf.start, leaf.start + leaf.categories - 1
    if leaf.kind == "multi_discrete":
        first, last = np.array([leaf.first_values, leaf.last_values], np.int64).reshape(2, *leaf.shape)
        return first, last
    return 0, 1
