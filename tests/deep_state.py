"""Everything that an object of ours holds, however deep, so that two of them can be compared."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch


def deep_state(value: Any, path: str = "", seen: frozenset[int] = frozenset()) -> Iterator[tuple[str, Any]]:
    """(path, number, text or bytes) of all that hangs on it; functions and objects of others have no state here."""
    if isinstance(value, torch.Tensor | np.ndarray):
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
        yield path, (array.dtype.str, array.shape, array.tobytes())
    elif isinstance(value, bool | int | float | str | bytes | np.generic | None):
        yield path, repr(value)
    elif id(value) not in seen:
        seen |= {id(value)}
        if isinstance(value, Mapping):
            parts = [(f"{path}[{key!r}]", part) for key, part in value.items()]
        elif isinstance(value, list | tuple | deque):
            parts = [(f"{path}[{place}]", part) for place, part in enumerate(value)]
        elif type(value).__module__.startswith("dppo.") or isinstance(value, torch.nn.Module):
            parts = (
                [(f"{path}.{name}", part) for name, part in vars(value).items()] if hasattr(value, "__dict__") else []
            )
        else:
            parts = []
        for name, part in parts:
            yield from deep_state(part, name, seen)
