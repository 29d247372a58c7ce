"""Environments for the chaos bench, which every actor loads by "scripts.chaos.simulators:<id>".

Paced-v0 is CartPole at the speed of a slow simulator, so that the machine is not busy and a fault's effect is seen. It
counts its steps where a kill -9 cannot undo them: what the ledger says is compared to that.
A file in the folder `breaks` breaks one of them, whichever sees it first: its name says how.
"""

import ctypes
import mmap
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

PACED = "scripts.chaos.simulators:Paced-v0"
SECONDS_VARIABLE = "CHAOS_STEP_SECONDS"  # of one actor's environments, where they differ from the others'
COUNT_BYTES = 8
LOOK_EVERY_STEPS = 20
FOR_EVER_SECONDS = 10**6

Stepped = tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]  # what a step returns
Glitch = Callable[[Stepped], Stepped]


class Paced(gym.Wrapper[Any, Any, Any, Any]):
    """CartPole whose step takes so many seconds; counts steps in a file of its own below `counts`."""

    def __init__(self, seconds: float, counts: str, breaks: str) -> None:
        super().__init__(CartPoleEnv())
        self._seconds = float(os.environ.get(SECONDS_VARIABLE, seconds))
        self._breaks = Path(breaks)
        self._steps = 0
        self._glitch: Glitch = _no_glitch
        with Path(counts, uuid.uuid4().hex).open("w+b") as file:
            file.truncate(COUNT_BYTES)
            self._count = mmap.mmap(file.fileno(), COUNT_BYTES)  # the kernel keeps it when this process is killed

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """One step of CartPole."""
        time.sleep(self._seconds)
        if self._steps % LOOK_EVERY_STEPS == 0:
            for file in self._breaks.iterdir():
                self._break(file)
        self._steps += 1
        self._count[:] = self._steps.to_bytes(COUNT_BYTES, "little")
        stepped = super().step(action)
        if stepped[2] or stepped[3]:  # no policy acts on what it returns then
            return stepped
        glitch, self._glitch = self._glitch, _no_glitch
        return glitch(stepped)

    def _break(self, file: Path) -> None:
        """Break as the file says, unless another environment was first."""
        try:
            file.unlink()
        except FileNotFoundError:
            return
        if file.name in GLITCHES:
            self._glitch = GLITCHES[file.name]
        else:
            BREAKS[file.name]()


def _sleep() -> None:
    time.sleep(FOR_EVER_SECONDS)


def _hold_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(FOR_EVER_SECONDS)  # PyDLL does not let go of it, as C code that hangs does not


def _raise() -> None:
    raise RuntimeError("the simulator lost its licence")


def _segfault() -> None:
    ctypes.string_at(0)


BREAKS: dict[str, Callable[[], None]] = {
    "sleeps": _sleep,
    "holds-the-gil": _hold_the_interpreter,
    "raises": _raise,
    "segfaults": _segfault,
}


def _no_glitch(step: Stepped) -> Stepped:
    return step


def _observation_of_1e6(step: Stepped) -> Stepped:
    observation = step[0].copy()
    observation[1] = 1e6
    return observation, *step[1:]


def _reward_of_1e9(step: Stepped) -> Stepped:
    return step[0], 1e9, *step[2:]


GLITCHES: dict[str, Glitch] = {"observation-1e6": _observation_of_1e6, "reward-1e9": _reward_of_1e9}


def counted_steps(directory: Path) -> int:
    """Steps of all environments that ever counted there."""
    return sum(int.from_bytes((directory / name).read_bytes(), "little") for name in os.listdir(directory))


gym.register("Paced-v0", entry_point="scripts.chaos.simulators:Paced", max_episode_steps=500)
