"""Pendulum with steps of random length; one of its processes may kill itself, once. Knows its slot by {slot}."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium as gym

MOST_SECONDS = 0.002


class Delayed(gym.Wrapper[Any, Any, Any, Any]):
    """Waits before each step, by a generator of its own; kills its process at a step where the file is not there."""

    def __init__(self, slot: int, fatal_slot: int, fatal_step: int, file: str) -> None:
        super().__init__(gym.make("Pendulum-v1"))
        self._delays = random.Random()
        self._is_fatal = slot == fatal_slot
        self._steps, self._fatal_step, self._file = 0, fatal_step, Path(file)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        time.sleep(self._delays.random() * MOST_SECONDS * (self._delays.random() < 0.1))
        self._steps += 1
        if self._is_fatal and self._steps == self._fatal_step and not self._file.exists():
            self._file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.env.step(action)


def make(slot: str, fatal_slot: int = -1, fatal_step: int = 0, file: str = "") -> gym.Env[Any, Any]:
    return Delayed(int(slot), fatal_slot, fatal_step, file)
