"""Environments for tests of whole processes, which load them by "simulators:<id>" with this folder in PYTHONPATH."""

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
gym.register("Installed-v0", entry_point="simulators:Installed", max_episode_steps=100)
