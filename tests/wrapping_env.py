"""An environment that says how far it was wrapped, and wrappers around it, found by module and name."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np


class Counting(gym.Env[Any, Any]):
    """Six steps an episode; observes its last action, rewarded with it."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space = gym.spaces.Box(-10.0, 10.0, (2, 2), np.float32)
        self.action_space = gym.spaces.Box(0.0, 4.0, (1,), np.float32)
        self.render_mode = render_mode
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros((2, 2), np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.full((2, 2), action[0], np.float32), float(action[0]), False, self.steps >= 6, {}

    def render(self) -> Any:
        return np.zeros((16, 16, 3), np.uint8)


class Adding(gym.RewardWrapper[Any, Any]):
    """Adds to the reward."""

    def __init__(self, env: gym.Env[Any, Any], amount: float) -> None:
        super().__init__(env)
        self._amount = amount

    def reward(self, reward: Any) -> float:
        return float(reward) + self._amount


class Doubling(gym.RewardWrapper[Any, Any]):
    """Doubles the reward."""

    def reward(self, reward: Any) -> float:
        return 2.0 * float(reward)


class Silent(gym.Wrapper[Any, Any, Any, Any]):
    """Ends the process where it is put around anything."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        raise SystemExit("gone")


class Choosing(gym.ActionWrapper[Any, Any, Any]):
    """Has two choices."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.action_space = gym.spaces.Discrete(2)

    def action(self, action: Any) -> Any:
        return np.array([float(action)], np.float32)


class Forgetful(gym.Wrapper[Any, Any, Any, Any]):
    """Does not tell Gymnasium what it wraps."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.mine = env


def function(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    return env


gym.register("Wrapping-v0", entry_point=Counting)


class HiddenVelocities(gym.ObservationWrapper[Any, Any, Any]):
    """CartPole that shows where cart and pole are, and not how fast they move."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))

    def observation(self, observation: Any) -> Any:
        return observation[[0, 2]]
