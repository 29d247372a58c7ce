"""Values that environments return: as arrays, in texts, and the errors about them. Knows values; knows no space."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Note = Callable[[str], None]


class BrokenContract(ValueError):
    """An environment returned what its own spaces, or Gymnasium's API, do not allow, and what would lose something."""


class NotFinite(BrokenContract):
    """A simulator gave NaN or infinity."""


class BrokenForGood(BrokenContract):
    """Likewise, where making the environment again would only repeat it: the run cannot go on as it began."""


class RaisedInProcess(Exception):
    """An error of an environment in a process of its own, as a line with its kind, text and place.

    The error itself may be nothing that a message carries, or nothing that can be made again from its text.
    """


def array_of(value: Any) -> np.ndarray | None:
    """The value as an array; None where it is none of numbers or flags."""
    if value is None or isinstance(value, str | bytes | Mapping):
        return None
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        return None  # an element that is declared to be no value
    try:
        return np.asarray(value)
    except Exception:  # noqa: BLE001 -- ragged lists, whatever has an __array__ of its own
        return _of_tensor(value)


def _of_tensor(value: Any) -> np.ndarray | None:
    """The numbers of a tensor that requires gradients, or is on a device; None where it is none."""
    try:
        return np.asarray(value.detach().cpu())
    except Exception:  # noqa: BLE001 -- as above
        return None


def kind_of(value: Any) -> str:
    """A value's type, of an array its dtype."""
    return f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__


def element(where: tuple[Any, ...]) -> str:
    """Return the place of an element in its array, as " at [0, 3]"; "" for a number."""
    return f" at {[int(index) for index in where]}" if where else ""


def row_of(batch: Any, column: int) -> Any:
    """Return that row of a batch: of an array, or of arrays in dicts and tuples."""
    if isinstance(batch, Mapping):
        return {key: row_of(inner, column) for key, inner in batch.items()}
    if isinstance(batch, tuple):
        return tuple(row_of(inner, column) for inner in batch)
    return None if batch is None else batch[column]


def short(value: Any) -> str:
    """A value in one line of at most 60 characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 -- a user's class may raise whatever it likes
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
