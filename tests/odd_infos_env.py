"""Environments with infos that no message carries, and resets that take little: "odd_infos_env:OddInfos-v0"."""

import threading
from typing import Any

import gymnasium as gym
import numpy as np

VALUES: tuple[Any, ...] = (0, 0.75, None, "far", np.zeros(3))  # of a key, by column


class OddInfos(gym.Env[np.ndarray, np.int64]):
    """Three steps an episode. Column 1 says 0.75 of what column 0 says 0, and 1 of what that one says nothing."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, column: int) -> None:
        self._column = column
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._steps = 0
        return np.zeros(1, np.float32), self._info()

    def step(self, action: np.int64) -> Any:
        self._steps += 1
        return np.zeros(1, np.float32), 1.0, self._steps == 3, False, self._info()

    def _info(self) -> dict[Any, Any]:
        return {
            "contacts": np.zeros(self._column + 1),
            "sometimes a dict": {"a": 1} if self._column else 1.0,
            "lock": threading.Lock(),
            "final_obs": "mine",
            "final_info": None,
            7: self,
            "distance": VALUES[self._column],
            "is_success": (None, True)[self._column],
            "episode": {"r": (10, 0.5)[self._column], "l": 3, "who": lambda: 1} if self._steps == 3 else None,
        }


def _with_a_seed(self: OddInfos, seed: int | None = None) -> Any:
    return OddInfos.reset(self, seed=seed)


def _alone(self: OddInfos) -> Any:
    return OddInfos.reset(self)


class TakesSeedOnly(OddInfos):
    """Its reset has no options, which no actor gives."""

    reset: Any = _with_a_seed


class TakesNothing(OddInfos):
    """Its reset has no seed."""

    reset: Any = _alone


class SimulatorError(Exception):
    """Is made from more than its text, and holds what no message carries."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.lock = code, threading.Lock()


class TextlessError(Exception):
    """Has no text to give."""

    def __str__(self) -> str:
        raise RuntimeError("no connection")


ERRORS: dict[str, BaseException] = {
    "own class": SimulatorError(7, "the arm is stuck"),
    "with a lock": RuntimeError("the arm is stuck", threading.Lock()),
    "textless": TextlessError(),
    "exit": SystemExit("the arm is stuck"),
    "plain": ValueError("the arm is stuck"),
}


class Raising(OddInfos):
    """Raises in its second step, once."""

    def __init__(self, error: str) -> None:
        super().__init__(0)
        self._error: str | None = error

    def step(self, action: np.int64) -> Any:
        if self._steps == 1 and self._error:
            error, self._error = ERRORS[self._error], None
            raise error
        return super().step(action)


gym.register("OddInfos-v0", entry_point=OddInfos)
