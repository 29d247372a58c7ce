"""Whether the numbers of a step are finite as float32, and whose are not. Knows arrays; knows no simulator."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dppo.actor.envs.interface import Crash, Step
from dppo.actor.envs.returned_values import NotFinite, element
from dppo.protocol.rollout import Leaves
from dppo.protocol.specs import Spec

MOST = float(np.finfo(np.float32).max)

Given = Callable[[int, str], Any]  # a leaf of a column's newest observation as its environment gave it


class Finite:
    """Check of E environments of one spec for numbers that are not finite."""

    def __init__(self, spec: Spec, envs: int, *, indivisible: bool) -> None:
        self._envs = envs
        self._indivisible = indivisible
        self._float_zeros = {
            leaf.name: np.zeros(envs * math.prod(leaf.shape), leaf.dtype)
            for leaf in spec.observation
            if np.dtype(leaf.dtype).kind == "f"
        }
        self._reward_zeros = np.zeros(envs, np.float32)

    def holds(self, step: Step) -> bool:
        """Whether all numbers are: 1 us, by products with 0, where numpy.isfinite takes 3."""
        try:
            total = step.rewards.dot(self._reward_zeros)
            for name, zeros in self._float_zeros.items():
                total += step.observations[name].ravel().dot(zeros)
                finals = step.final_observations[name]
                if len(finals) and not np.isfinite(finals).all():
                    return False
            return bool(total == 0)
        except (RuntimeWarning, FloatingPointError):  # infinity times 0, where an environment made that an error
            return False

    def lies(self, step: Step, given: Given) -> Iterator[Crash]:
        """A crash for every column in which a number is not finite."""
        for column in range(self._envs):
            place = int(step.truncated[:column].sum())
            ended = bool(step.terminated[column] or step.truncated[column])
            for name in self._float_zeros:
                finals = step.final_observations[name][place : place + bool(step.truncated[column])]
                if not np.isfinite(step.observations[name][column]).all() or not np.isfinite(finals).all():
                    # what follows an episode's end is the next one's first observation, except under NEXT_STEP
                    in_step = not ended or self._indivisible or not np.isfinite(finals).all()
                    row = step.observations[name][column] if np.isfinite(finals).all() else finals[0]
                    yield Crash(column, "step" if in_step else "reset", what_is_wrong(name, row, given(column, name)))
                    break
            else:
                if not np.isfinite(step.rewards[column]):
                    yield Crash(column, "step", NotFinite(f"the reward is {step.rewards[column]}"))

    def refuse_first(self, observations: Leaves, given: Given) -> None:
        """Raises NotFinite where a first observation is not finite."""
        for name, array in observations.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                row = int(np.argmin(np.isfinite(array.reshape(len(array), -1)).all(axis=1)))
                raise what_is_wrong(name, array[row], given(row, name))


def what_is_wrong(name: str, row: np.ndarray, given: Any) -> NotFinite:
    """Return the error for an observation that is not finite as float32. given: as its environment gave it."""
    found = _above_float32(given)
    if found is not None:
        value, at = found
        return NotFinite(f"{name} holds {value:g}{at}, above what float32 holds ({MOST:.2g})")
    where = np.unravel_index(int(np.argmin(np.isfinite(row))), row.shape) if row.shape else ()
    return NotFinite(f"{name} is NaN or infinite ({row[where]:g}{element(where)})")


def _above_float32(given: Any) -> tuple[float, str] | None:
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        return None
    large = np.isfinite(array) & (np.abs(array) > MOST)
    if not large.any():
        return None
    where = np.unravel_index(int(np.argmax(large)), array.shape) if array.shape else ()
    return float(array[where]), element(where)
