"""What stepping environments gives back, whichever way they are vectorized. Knows arrays; knows no Gymnasium."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from protocol.rollout import Leaves
from protocol.specs import Spec

SUCCESS = "is_success"  # what the info of an episode's last step may say: whether the task was done


class Step(NamedTuple):
    """One step of E environments. The arrays may be reused by the next step: copy what you keep."""

    observations: Leaves  # [E, ...] to act on next; a new episode's first one where the episode ended
    rewards: np.ndarray  # [E] float32; 0 where not valid
    terminated: np.ndarray  # [E] bool; the episode ended in a terminal state
    truncated: np.ndarray  # [E] bool, never where terminated; the episode ended by a limit
    valid: np.ndarray  # [E] bool; false where the environment only reset itself and ignored the action
    final_observations: Leaves  # [k, ...] the true last observations of the k truncated columns, in column order
    successes: np.ndarray  # [E] float32; 1 or 0 where an episode ended and its environment says which, else NaN


class Environments(Protocol):
    """E environments stepped together. Autoreset modes end here: what comes out reads the same for all of them.

    Under NEXT_STEP autoreset `observations` of an ended column are its last ones, and the row after it is not valid.
    """

    spec: Spec
    envs: int
    description: str  # which implementation was picked and how it resets, for the log

    def reset(self, seeds: Sequence[int]) -> Leaves:
        """Start E episodes, one seed a column; leaf name -> [E, ...]."""

    def step(self, env_action: np.ndarray) -> Step:
        """Do env_action [E, ...], which is ready for the environments: clipped, shifted, scaled."""

    def close(self) -> None:
        """Free what the environments hold."""


def successes_of(reported: Mapping[int, Any], none: np.ndarray) -> np.ndarray:
    """[E] from info["is_success"] by column; `none` itself, which is all NaN, where no column has reported."""
    if not reported:
        return none
    successes = none.copy()
    for column, value in reported.items():
        successes[column] = _as_number(value)
    return successes


def _as_number(value: Any) -> float:
    """1 or 0; NaN for None and for whatever is neither true nor false."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return np.nan
    return number if number in (0.0, 1.0) else np.nan
