"""Small environments that train well, each of another kind: a run without an end, and a reward that is rare."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

JOINTS = 6
RUN_STEPS = 300
CORRIDOR = 10
CORRIDOR_STEPS = 60


class Runner(gym.Env[np.ndarray, np.ndarray]):
    """Joints in a ring push a body forwards where each bends before the next one; like HalfCheetah, ends by a limit.

    Observation: angles and speeds of the joints, speed of the body. Pays the way that was made, less the effort.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2 * JOINTS + 1,), np.float64)
    action_space = spaces.Box(-1, 1, (JOINTS,), np.float32)

    def _given(self) -> np.ndarray:
        return np.concatenate([self._angles, self._turns, [self._speed]])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._angles, self._turns = self.np_random.normal(0, 0.1, JOINTS), self.np_random.normal(0, 0.1, JOINTS)
        self._speed, self._steps = 0.0, 0
        return self._given(), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        self._turns = 0.8 * self._turns + np.asarray(action, np.float64) - 0.2 * self._angles
        self._angles = np.clip(self._angles + 0.2 * self._turns, -1.5, 1.5)
        push = float((np.sin(np.roll(self._angles, 1) - self._angles) * self._turns).mean())
        self._speed = 0.9 * self._speed + 0.3 * push
        reward = self._speed - 0.05 * float(np.square(action).sum())
        return self._given(), reward, False, self._steps >= RUN_STEPS, {}


class Corridor(gym.Env[int, int]):
    """Cells in a row, 1 at the last one and nothing before; a limit ends a walk that has not come there."""

    observation_space = spaces.Discrete(CORRIDOR)
    action_space = spaces.Discrete(3)  # left, stay, right

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._at, self._steps = 0, 0
        return self._at, {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        self._at = max(0, self._at + int(action) - 1)
        is_there = self._at == CORRIDOR - 1
        return self._at, float(is_there), is_there, not is_there and self._steps >= CORRIDOR_STEPS, {}
