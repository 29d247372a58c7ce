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


def array_of(value: Any) -> np.ndarray | None:
    """The value as an array; None where it is none of numbers or flags."""
    if value is None or isinstance(value, str | bytes | Mapping):
        return None
    try:
        return np.asarray(value)
    except Exception:  # noqa: BLE001 -- ragged lists, tensors of a device, whatever has an __array__ of its own
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
