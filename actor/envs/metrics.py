"""Numbers of the user's own in the infos of an environment. Knows gym.Wrapper; knows no rollout."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from dppo.actor.envs.first_calls import given_to_reset


def metrics_of(info: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    """[K] float32: the values under these names in the info of an episode's last step, NaN where there is no number."""
    return np.array([as_real(info.get(name)) for name in names], np.float32)


def as_real(value: Any) -> float:
    """Return the number that a value is, NaN where it is none or does not fit into float32."""
    if value is None or isinstance(value, str | bytes):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if abs(number) <= LARGEST else math.nan


LARGEST = float(np.finfo(np.float32).max)


class StepMetrics(gym.Wrapper[Any, Any, Any, Any]):
    """Averages named values of the infos of all steps of an episode; the last info has the means under their names."""

    def __init__(self, environment: gym.Env[Any, Any], names: Sequence[str]) -> None:
        super().__init__(environment)
        self._names = names
        self._forget()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset as Env.reset does."""
        self._forget()
        return self.env.reset(**given_to_reset(seed, options))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step as Env.step does."""
        result = self.env.step(action)
        if not isinstance(result[4], Mapping):
            return result  # what is wrong with it is found out where everything is checked
        for place, name in enumerate(self._names):
            number = as_real(result[4].get(name))
            if number == number:  # NaN is not
                self._sums[place] += number
                self._counts[place] += 1
        if not (result[2] or result[3]):
            return result
        means = {
            name: total / count if count else math.nan
            for name, total, count in zip(self._names, self._sums, self._counts, strict=True)
        }
        return (*result[:4], {**result[4], **means})

    def _forget(self) -> None:
        self._sums, self._counts = [0.0] * len(self._names), [0] * len(self._names)
