"""An environment whose observation has leaves of every kind, and that can be filmed."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np


class Nested(gym.Env[Any, Any]):
    """Pays 1 where the action is the parity of what is wanted; 5 steps an episode."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}
    observation_space = gym.spaces.Dict(
        {
            "arm": gym.spaces.Box(-100, 100, (2,)),
            "seen": gym.spaces.Tuple([gym.spaces.Box(0, 255, (3, 3), np.uint8), gym.spaces.MultiBinary(2)]),
            "tip": gym.spaces.Box(-1, 1, (), np.float64),
            "tools": gym.spaces.MultiDiscrete([2, 3], start=[1, -1]),
            "wanted": gym.spaces.Discrete(4, start=-1),
        }
    )
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def _observation(self) -> Any:
        return {
            "arm": self.np_random.normal([50, -3], [9, 0.1]).astype(np.float32),
            "seen": (self.np_random.integers(0, 256, (3, 3), np.uint8), self.np_random.integers(0, 2, 2, np.int8)),
            "tip": self.np_random.uniform(-1, 1),
            "tools": self.np_random.integers([1, -1], [3, 2]),
            "wanted": self.wanted,
        }

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps, self.wanted = 0, int(self.np_random.integers(-1, 3))
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        reward = float(action == self.wanted % 2)
        self.wanted = int(self.np_random.integers(-1, 3))
        return self._observation(), reward, False, self.steps == 5, {}

    def render(self) -> Any:
        return np.full((32, 32, 3), 40 * self.steps, np.uint8)


gym.register("Nested-v0", entry_point=Nested)
