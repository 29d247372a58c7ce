"""Results of stepping environments, whichever way they are vectorized. Knows arrays; knows no Gymnasium."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from dppo.actor.envs.returned_values import BrokenContract, RaisedInProcess
from dppo.actor.watchdog.traceback_location import with_place
from dppo.protocol.rollout import Leaves
from dppo.protocol.specs import Spec

SUCCESS = "is_success"  # what the info of an episode's last step may say: whether the task was done

NO_METRICS: Mapping[int, np.ndarray] = {}
NO_RETURNS: Mapping[int, float] = {}


class Crash(NamedTuple):
    """An environment raised something, or gave numbers that are not finite, instead of doing its step or reset."""

    column: int | None  # None: a vector environment that does not say whose
    during: Literal["step", "reset"]
    error: BaseException

    def __str__(self) -> str:
        whose = "the vector environment" if self.column is None else f"environment {self.column}"
        if isinstance(self.error, BrokenContract | RaisedInProcess):  # neither class nor place is the user's
            return f"{whose} failed in {self.during}: {self.error}"
        return f"{whose} failed in {self.during}: {with_place(self.error)}"


class Step(NamedTuple):
    """One step of E environments. The arrays may be reused by the next step: copy what you keep."""

    observations: Leaves  # [E, ...] to act on next; a new episode's first one where the episode ended
    rewards: np.ndarray  # [E] float32; 0 where not valid
    terminated: np.ndarray  # [E] bool; the episode ended in a terminal state
    truncated: np.ndarray  # [E] bool, never where terminated; the episode ended by a limit
    valid: np.ndarray  # [E] bool; false where the environment only reset itself and ignored the action
    final_observations: Leaves  # [k, ...] the true last observations of the k truncated columns, in column order
    successes: np.ndarray  # [E] float32; 1 or 0 where an episode ended and its environment says which, else NaN
    metrics: Mapping[int, np.ndarray] = NO_METRICS  # [K] float32 by column whose episode ended, NaN where not said
    crashes: Sequence[Crash] = ()  # those columns' observations mean nothing: `restart` them before the next step
    own_returns: Mapping[int, float] = NO_RETURNS  # by column whose episode ended and whose environment says its return


class Environments(Protocol):
    """E environments stepped together. Autoreset modes end here: what comes out reads the same for all of them.

    Under NEXT_STEP autoreset `observations` of an ended column are its last ones, and the row after it is not valid.
    A column that crashed in its step has a row that is not valid; one that crashed in the reset after its episode's end
    has a whole row and lacks only the new episode's first observation.
    """

    spec: Spec
    envs: int
    description: str  # which implementation was picked and how it resets, for the log
    indivisible: bool  # one of them cannot be made again without the others
    column: int | None  # whose turn it is, for a thread that watches; None: all at once

    def reset(self, seeds: Sequence[int]) -> Leaves:
        """Start E episodes, one seed a column; leaf name -> [E, ...]."""

    def step(self, env_action: np.ndarray | Leaves) -> Step:
        """Do env_action [E, ...], which is ready for the environments: clipped, shifted, scaled.

        A nested action: its leaves by name, env_action.arm of action.arm.
        """

    def restart(self, columns: Sequence[int], seeds: Sequence[int]) -> Leaves:
        """Make these again, all of them where they are indivisible, and start new episodes; leaf name -> [k, ...].

        Raises DppoError where they cannot be made, and whatever their resets raise.
        """

    def given(self, column: int, name: str) -> Any:
        """Return that leaf of a column's newest observation as its environment gave it, in its dtype; for messages."""

    def single(self, column: int) -> Any:
        """Return that column's gymnasium.Env; None where it is not an object of this process. For messages."""

    def waiting_for(self) -> Sequence[int]:
        """Columns whose processes have not answered yet. May be called from another thread."""

    def tell_stack(self, column: int) -> None:
        """Have that column's process, if it has its own, write its stack to standard error. Likewise."""

    def close(self) -> None:
        """Free what the environments hold."""


def successes_of(reported: Mapping[int, Any], none: np.ndarray) -> np.ndarray:
    """[E] from info["is_success"] by column; `none` itself, which is all NaN, where no column has reported."""
    if not reported:
        return none
    successes = none.copy()
    for column, value in reported.items():
        successes[column] = as_success(value)
    return successes


def as_success(value: Any) -> float:
    """1 or 0; NaN for None and for whatever is neither true nor false."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return np.nan
    return number if number in (0.0, 1.0) else np.nan
