"""A task for memory, masks and nested observations at once: a cue is shown at first, and asked for at last."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

CUES = 3
STEPS = 6
NOTHING = CUES  # shown in the place of a cue after the first step


class Recall(gym.Env[Any, Any]):
    """Pays 1 where the last action is the cue. Every step forbids one action, the last one another than the cue.

    Raises for a forbidden action.
    """

    observation_space = spaces.Dict({"shown": spaces.Discrete(CUES + 1), "time": spaces.Box(0, 1, (1,))})
    action_space = spaces.Discrete(CUES)

    def _given(self) -> tuple[Any, dict[str, Any]]:
        is_last = self._steps == STEPS - 1
        forbidden = self._other if is_last else self.np_random.integers(CUES)
        self._legal = np.arange(CUES) != forbidden
        time = np.full(1, self._steps / STEPS, np.float32)
        return {"shown": self._cue if self._steps == 0 else NOTHING, "time": time}, {"action_mask": self._legal}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._steps, self._cue = 0, int(self.np_random.integers(CUES))
        self._other = (self._cue + int(self.np_random.integers(1, CUES))) % CUES
        return self._given()

    def step(self, action: Any) -> Any:
        if not self._legal[action]:
            raise ValueError(f"{action} is forbidden by {self._legal}")
        self._steps += 1
        over = self._steps == STEPS
        reward = float(over and action == self._cue)
        if over:
            self._steps = STEPS - 1  # as shown before
        observation, info = self._given()
        return observation, reward, over, False, info
