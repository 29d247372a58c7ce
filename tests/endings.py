"""An environment that comes to a bad end, for tests of whole processes: "endings:Ending-v0"."""

import ctypes
import os
import tempfile
import time
from typing import Any

import gymnasium as gym
import numpy as np


class Ending(gym.Env[np.ndarray, np.int64]):
    """Episodes of five steps, and from a certain one on something else."""

    observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, making: str = "", close: str = "", moves: int = 0, **from_episode: int) -> None:
        """from_episode: endless_from=3 and so on; counted from 0."""
        self._episode, self._steps = -1, 0
        self._from = {name.removesuffix("_from"): number for name, number in from_episode.items()}
        self._close = close
        if moves:
            os.chdir(tempfile.mkdtemp())
        self._do(making)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._episode += seed is not None
        self._steps = 0
        return np.zeros(4, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        due = [how for how, number in self._from.items() if self._episode >= number]
        for how in due:
            self._do(how)
        return np.zeros(4, np.float32), 1.0, self._steps >= 5 and "endless" not in due, False, {}

    def close(self) -> None:
        self._do(self._close)

    def _do(self, how: str) -> None:
        match how:
            case "raise":
                raise RuntimeError("the simulator lost its licence")
            case "hang":
                time.sleep(10_000)
            case "hold":
                ctypes.PyDLL(None).sleep(10_000)
            case "segfault":
                ctypes.string_at(0)
            case "leave":
                os._exit(0)


gym.register("Ending-v0", entry_point=Ending)
