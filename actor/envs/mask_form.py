"""Forms in which masks of actions come, to the flat one that is carried. Knows values and leaves; steps nothing.

One flat array of all choices side by side, as sb3-contrib takes it; or what `space.sample(mask)` of Gymnasium takes:
an array for each element of a MultiDiscrete in tuples, 0, 1 and 2 (either) for each element of a MultiBinary, dicts and
tuples of these where the space is nested, None where all is legal.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dppo.actor.envs.returned_values import array_of, kind_of, row_of, short
from dppo.protocol.action_masks import choices_of
from dppo.protocol.leaf_paths import leaf_path
from dppo.protocol.leaves import Leaf

_KINDS = "biuf"  # of dtypes


class WrongMask(ValueError):
    """A value that is no mask of these actions: `got`, where `expected` was."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"{got}: expected {expected}")
        self.expected = expected
        self.got = got


class MaskForm:
    """Masks of the actions of one spec."""

    def __init__(self, actions: Sequence[Leaf]) -> None:
        """actions: at least one with choices."""
        self._leaves = tuple(actions)
        self._counts = choices_of(actions)
        self.size = sum(self._counts)
        self._shape = (self.size,)
        self._firsts = np.cumsum([0, *self._counts[:-1]])
        self._is_nested = actions[0].name != "action"
        self.all_legal = np.ones(self.size, bool)
        self.all_legal.flags.writeable = False

    def flat(self, value: Any) -> np.ndarray:
        """The mask bool [size] of one action, which may be the value itself. Raises WrongMask."""
        if type(value) is np.ndarray and value.shape == self._shape:  # what is usual: 0.7 us for bytes
            kind = value.dtype.char
            if kind == "?":
                return value
            if kind in "bB" and not value.tobytes().translate(None, b"\0\1"):
                return value.astype(bool)
        if not self._is_nested:
            return self._of_leaf(self._leaves[0], value)
        if isinstance(value, Mapping | tuple) or (isinstance(value, list) and not all(map(np.isscalar, value))):
            return np.concatenate(list(self._parts(value)))
        return self._flags(value, self._shape)

    def flat_rows(self, values: Any, rows: int) -> np.ndarray:
        """Masks bool [rows, size] of as many actions: an array, or arrays [rows, ...] in dicts and tuples, or a list.

        Raises WrongMask.
        """
        if isinstance(values, np.ndarray) and values.shape == (rows, self.size) and values.dtype.kind in _KINDS:
            return self._flags(values, values.shape)
        if isinstance(values, np.ndarray | list) and len(values) != rows:
            raise WrongMask(f"{rows} masks, each {self._expected()}", f"{len(values)} of them")
        try:
            return np.stack([self.flat(row_of(values, row)) for row in range(rows)])
        except (IndexError, TypeError, KeyError):
            raise WrongMask(f"{rows} masks, each {self._expected()}", _described(values)) from None

    def dead_end(self, masks: np.ndarray) -> tuple[int, str] | None:
        """Return the row of masks [rows, size] that has no legal choice and the element that lacks it, None for none.

        The element: "action", "action.gears[1]".
        """
        if len(self._counts) == 1:
            legal = masks.any(axis=-1)
            return None if legal.all() else (int(legal.argmin()), self._leaves_with_choices()[0].name)
        legal = np.logical_or.reduceat(masks, self._firsts, axis=-1)
        if legal.all():
            return None
        row, element = np.argwhere(~legal)[0].tolist()
        return row, self._element(element)

    def lives(self, mask: np.ndarray) -> bool:
        """Whether each element of one mask [size] has a legal choice."""
        if len(self._counts) == 1:
            return bool(np.count_nonzero(mask))
        return bool(np.logical_or.reduceat(mask, self._firsts).all())

    def _parts(self, value: Any) -> Iterator[np.ndarray]:
        """Flat masks of the leaves with choices, of a nested mask."""
        for leaf in self._leaves:
            inner = value
            path = leaf_path(leaf.name)
            for depth, key in enumerate(path):
                if inner is None:
                    break
                try:
                    inner = inner[key]
                except (KeyError, IndexError, TypeError):
                    if leaf.kind == "box" and depth == len(path) - 1:
                        inner = None
                        break
                    raise WrongMask(f"a mask of {leaf.name} there", _described(value)) from None
            if leaf.kind == "box":
                if inner is not None:
                    raise WrongMask(f"None for {leaf.name}, which has no choices", _described(inner))
            elif inner is None:
                yield np.ones(sum(leaf.choices), bool)
            else:
                yield self._of_leaf(leaf, inner)

    def _of_leaf(self, leaf: Leaf, value: Any) -> np.ndarray:
        size = sum(leaf.choices)
        array = array_of(value)
        if array is not None and array.dtype.kind in _KINDS:
            if array.shape == (size,):
                return self._flags(array, array.shape, leaf)
            if leaf.kind == "multi_binary" and array.shape == leaf.shape:
                return self._of_either(array, leaf)
            if leaf.kind == "multi_discrete" and array.shape == (*leaf.shape, leaf.choices[0]):
                return self._flags(array, array.shape, leaf).reshape(-1)
        if leaf.kind == "multi_discrete" and isinstance(value, tuple | list | np.ndarray):
            parts = list(_elements(value, len(leaf.shape)))
            if [np.shape(part) for part in parts] == [(count,) for count in leaf.choices]:
                return np.concatenate([self._flags(part, np.shape(part), leaf) for part in parts])
        raise WrongMask(self._expected(leaf), _described(value))

    def _flags(self, value: Any, shape: tuple[int, ...], leaf: Leaf | None = None) -> np.ndarray:
        """An array of that shape as bools. leaf: that it is of; None: of all."""
        array = array_of(value)
        if array is None or array.dtype.kind not in _KINDS or array.shape != shape:
            raise WrongMask(self._expected(leaf), _described(value))
        if array.dtype.kind == "b":
            return array
        flags: np.ndarray = array != 0
        if not (flags == array).all():
            raise WrongMask(self._expected(leaf), f"{array[flags != array].flat[0]} in it")
        return flags

    def _of_either(self, array: np.ndarray, leaf: Leaf) -> np.ndarray:
        """The flags of a MultiBinary of 0, 1 and 2 for either."""
        if array.dtype.kind == "b":
            raise WrongMask(self._expected(leaf), f"bools of shape {array.shape}")
        flags = np.stack([(array == 0) | (array == 2), (array == 1) | (array == 2)], -1)
        if not flags.any(axis=-1).all():
            raise WrongMask(self._expected(leaf), f"{array[~flags.any(axis=-1)].flat[0]} in it")
        return flags.reshape(-1)

    def _expected(self, leaf: Leaf | None = None) -> str:
        leaves = [leaf] if leaf is not None else self._leaves_with_choices()
        sizes = [f"{sum(one.choices)} of {one.name}" for one in leaves]
        text = f"{sum(sum(one.choices) for one in leaves)} flags of 0 and 1, {' and '.join(sizes)}"
        if leaf is not None and leaf.kind == "multi_discrete" and leaf.shape:
            counts = ", ".join(map(str, leaf.choices[:8])) + (", ..." if len(leaf.choices) > 8 else "")
            return f"{text} (for each element {counts}), or an array for each element"
        if leaf is not None and leaf.kind == "multi_binary":
            either = f"integers of shape {leaf.shape}: 0, 1, or 2 for either"
            return f"{text} (may it be 0, may it be 1, for each element), or {either}"
        return text

    def _leaves_with_choices(self) -> list[Leaf]:
        return [leaf for leaf in self._leaves if leaf.choices]

    def _element(self, number: int) -> str:
        for leaf in self._leaves_with_choices():
            if number < len(leaf.choices):
                where = np.unravel_index(number, leaf.shape) if leaf.shape else ()
                return f"{leaf.name}[{', '.join(str(int(index)) for index in where)}]" if where else leaf.name
            number -= len(leaf.choices)
        raise ValueError("more elements than the action has")


def _elements(value: Any, depth: int) -> Iterator[Any]:
    """Arrays of the elements, of tuples or lists nested as deep as the action's shape."""
    if depth == 0:
        yield value
    elif isinstance(value, tuple | list | np.ndarray):
        for inner in value:
            yield from _elements(inner, depth - 1)


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return f"{short(value)} ({kind_of(value)})"
