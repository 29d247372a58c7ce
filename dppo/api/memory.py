"""State of a policy's memory between two calls: checked, and as inputs of the graph. Knows numpy only."""

from typing import Any

import numpy as np

from dppo.protocol.errors import UsageError
from dppo.protocol.recurrent_state import RESET, STATE
from dppo.protocol.rollout import Leaves


def remembered(state: Any, rows: int, size: int, *, is_batch: bool) -> Leaves:
    """Return the graph's inputs for what a caller passed as state: none without memory, for which size is 0.

    Raises UsageError where it is no state of so many rows.
    """
    if not size:
        if state is not None:
            raise UsageError(f"state is {type(state).__name__}: this policy has no memory, pass None")
        return {}
    given = np.zeros((rows, size), np.float32)
    if state is not None:
        expected = (rows, size) if is_batch else (size,)
        if not (isinstance(state, np.ndarray) and state.shape == expected and state.dtype.kind == "f"):
            looks = (
                f"an array {state.shape} of {state.dtype}" if isinstance(state, np.ndarray) else type(state).__name__
            )
            raise UsageError(
                f"state is {looks}: pass what the last call of predict returned, floats of shape {expected}, or None "
                "where an episode begins"
            )
        given[...] = state
    return {STATE: given, RESET: np.zeros(rows, bool)}
