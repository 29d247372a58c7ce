"""Arguments of `predict` in other libraries, answered with ours. Knows names only."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from dppo.protocol.errors import UsageError

OURS = ("observation", "state", "deterministic", "action_masks")
_BEGINNING = "where an episode begins, pass state=None: there is no other argument for it"
_THEIRS = {
    **dict.fromkeys(("episode_start", "episode_starts", "dones", "done"), _BEGINNING),
    **dict.fromkeys(("obs", "observations"), "it is observation"),
    **dict.fromkeys(("explore", "stochastic", "sample"), "it is deterministic, the other way round"),
    **dict.fromkeys(("hidden", "hidden_state", "hidden_states", "lstm_states", "rnn_states"), "it is state"),
}


def refuse_others(deterministic: object, others: Mapping[str, Any]) -> None:
    """Raise UsageError for arguments that `predict` does not have, and for another in the place of deterministic."""
    for name in others:
        near = get_close_matches(name, OURS, n=1)
        hint = _THEIRS.get(name) or (f"did you mean {near[0]}?" if near else f"it takes {', '.join(OURS)}")
        raise UsageError(f"predict has no argument {name}: {hint}")
    if not isinstance(deterministic, bool | np.bool_):
        raise UsageError(
            f"deterministic, the third argument of predict, is a {type(deterministic).__name__}: give True or False "
            f"(for an episode_start: {_BEGINNING})"
        )
