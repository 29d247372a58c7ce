"""State that a policy carries between two calls: checked, and as inputs of the graph. Knows numpy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dppo.protocol.errors import UsageError
from dppo.protocol.leaves import Leaf
from dppo.protocol.recurrent_state import RESET
from dppo.protocol.rollout import Leaves


def remembered(state: Any, rows: int, carried: Sequence[Leaf], *, is_batch: bool) -> Leaves:
    """Return the graph's inputs for what a caller passed as state: none where the policy carries nothing.

    carried: its leaves; one is passed as an array, several as a dict of arrays by name. Raises UsageError where it is
    no state of so many rows.
    """
    if not carried:
        if state is not None:
            raise UsageError(f"state is {type(state).__name__}: this policy has no memory, pass None")
        return {}
    given = {leaf.name: np.zeros((rows, *leaf.shape), leaf.dtype) for leaf in carried}
    if state is not None:
        for leaf, array in zip(carried, _arrays(state, carried), strict=True):
            given[leaf.name][...] = _checked(array, leaf, (rows, *leaf.shape) if is_batch else leaf.shape)
    return {**given, RESET: np.full(rows, state is None)}


def carried_on(after: Leaves, *, is_batch: bool) -> Any:
    """Return the state to pass next: an array, a dict of several by name, or None where nothing is carried."""
    states = {name: array.copy() if is_batch else array[0].copy() for name, array in after.items()}
    if len(states) > 1:
        return states
    return next(iter(states.values()), None)


def _arrays(state: Any, carried: Sequence[Leaf]) -> list[Any]:
    if len(carried) == 1:
        return [state]
    names = [leaf.name for leaf in carried]
    if not (isinstance(state, dict) and set(state) == set(names)):
        keys = f" with the keys {', '.join(map(str, state))}" if isinstance(state, dict) else ""
        raise UsageError(
            f"state is {type(state).__name__}{keys}: pass the dict of {', '.join(names)} that the last call of predict "
            "returned, or None where an episode begins"
        )
    return [state[name] for name in names]


def _checked(array: Any, leaf: Leaf, expected: tuple[int, ...]) -> np.ndarray:
    kind, what = ("f", "floats") if leaf.dtype == "<f4" else ("u", "bytes (uint8)")
    fits = isinstance(array, np.ndarray) and array.shape == expected and array.dtype.kind == kind
    if not fits or (kind == "u" and array.dtype != np.uint8):
        looks = f"an array {array.shape} of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise UsageError(
            f"{leaf.name} is {looks}: pass what the last call of predict returned, {what} of shape {expected}, or None "
            "where an episode begins"
        )
    checked: np.ndarray = array
    return checked
