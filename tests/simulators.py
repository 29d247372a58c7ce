"""Environments for tests of whole processes, which load them by "simulators:<id>" with this folder in PYTHONPATH."""

import ctypes
import os
import time
import uuid
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

BREAKING = "simulators:Breaking-v0"
BLOWN_UP = "simulators:BlownUp-v0"
INSTALLED = "simulators:Installed-v0"
FAILING = "simulators:Failing-v0"
NUMBERS_VARIABLE = "TEST_OBSERVED_NUMBERS"
SLOW_STEP_SECONDS = 0.004


class GatedCartPole(CartPoleEnv):
    """CartPole at a crawl until a file exists: a test acts in the middle of a run, then lets it finish at once.

    Writes at its end into the folder `counts` how often it was stepped.
    """

    def __init__(self, gate: str, counts: str) -> None:
        super().__init__()
        self._gate, self._counts = gate, counts
        self._steps = 0

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        if not os.path.exists(self._gate):
            time.sleep(SLOW_STEP_SECONDS)
        return super().step(action)

    def close(self) -> None:
        super().close()
        Path(self._counts, uuid.uuid4().hex).write_text(str(self._steps))


class Breaking(CartPoleEnv):
    """Its simulator fails after some steps, every time."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps -= 1
        if self._steps < 0:
            raise RuntimeError("the simulator lost its licence")
        return super().step(action)


class BlownUp(CartPoleEnv):
    """Its simulator diverges after some steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps -= 1
        observation, reward, terminated, truncated, info = super().step(action)
        return observation if self._steps > 0 else observation * np.nan, reward, terminated, truncated, info


class Failing(CartPoleEnv):
    """At a certain step it sleeps for ever, or otherwise leaves its actor; only the first one to get there, if told."""

    def __init__(self, how: str, step: int, once: str = "", at: str = "step") -> None:
        """once: a file that the first one makes, and the others leave it at that. at: step, reset or making."""
        super().__init__()
        self._how, self._countdown, self._once, self._at = how, step, once, at
        if at == "making":
            self._fail()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if self._at == "reset" and self._countdown < 0:
            self._fail()
        return super().reset(seed=seed, options=options)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(SLOW_STEP_SECONDS / 4)
        self._countdown -= 1
        if self._countdown < 0 and self._at == "step":
            self._fail()
        return super().step(action)

    def _fail(self) -> None:
        if self._once:
            try:
                os.close(os.open(self._once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
        match self._how:
            case "sleep":
                time.sleep(10_000)
            case "hold":  # the interpreter, as C code does that never gives it back
                ctypes.PyDLL(None).sleep(10_000)
            case "crash":
                ctypes.string_at(0)
            case "raise":
                raise RuntimeError("the simulator lost its licence")
            case how:
                os._exit(int(how))


class Installed(gym.Env[np.ndarray, int]):
    """Observes as many numbers as the release that is installed on this host, which a variable plays."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (int(os.environ[NUMBERS_VARIABLE]),))
        self.action_space = gym.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self._observation(), 1.0, False, False, {}

    def _observation(self) -> np.ndarray:
        time.sleep(SLOW_STEP_SECONDS)
        return np.zeros(self.observation_space.shape, np.float32)


gym.register("GatedCartPole-v0", entry_point="simulators:GatedCartPole", max_episode_steps=500)
gym.register("Breaking-v0", entry_point="simulators:Breaking", max_episode_steps=500)
gym.register("BlownUp-v0", entry_point="simulators:BlownUp", max_episode_steps=500)
gym.register("Failing-v0", entry_point="simulators:Failing", max_episode_steps=500)
gym.register("Installed-v0", entry_point="simulators:Installed", max_episode_steps=100)
