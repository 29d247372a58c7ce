"""Environments for the chaos bench, which every actor loads by "scripts.chaos.simulators:<id>".

Paced-v0 is CartPole at the speed of a slow simulator, so that the machine is not busy and a fault's effect is seen. It
counts its steps where a kill -9 cannot undo them: what the ledger says is compared to that.
"""

import mmap
import os
import time
import uuid
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

PACED = "scripts.chaos.simulators:Paced-v0"
COUNT_BYTES = 8


class Paced(gym.Wrapper[Any, Any, Any, Any]):
    """CartPole whose step takes so many seconds; counts steps in a file of its own below `counts`."""

    def __init__(self, seconds: float, counts: str) -> None:
        super().__init__(CartPoleEnv())
        self._seconds = seconds
        self._steps = 0
        with Path(counts, uuid.uuid4().hex).open("w+b") as file:
            file.truncate(COUNT_BYTES)
            self._count = mmap.mmap(file.fileno(), COUNT_BYTES)  # the kernel keeps it when this process is killed

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """One step of CartPole."""
        time.sleep(self._seconds)
        self._steps += 1
        self._count[:] = self._steps.to_bytes(COUNT_BYTES, "little")
        return super().step(action)


def counted_steps(directory: Path) -> int:
    """Steps of all environments that ever counted there."""
    return sum(int.from_bytes((directory / name).read_bytes(), "little") for name in os.listdir(directory))


gym.register("Paced-v0", entry_point="scripts.chaos.simulators:Paced", max_episode_steps=500)
