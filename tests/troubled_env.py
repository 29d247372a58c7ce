"""An environment that fails where a test wants it to: it raises, or returns values that are not finite."""

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

LONG = 12  # steps of an episode that nothing breaks off

EnvFault = Callable[["Troubled", int], None]  # at the step of that number of all environments together


class Troubled(gym.Env[np.ndarray, int]):
    """Observes (instance, episode of the instance, step, seed mod 1000). What goes wrong when, a test says."""

    instances = 0
    seeds: ClassVar[list[int]] = []
    in_step: Callable[[int, int], Any] = staticmethod(lambda instance, step: None)
    in_reset: Callable[[int, int], Any] = staticmethod(lambda instance, episode: None)

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (4,))
        self.action_space = gym.spaces.Discrete(3)
        self.instance, self.episode, self.steps = Troubled.instances, -1, 0
        Troubled.instances += 1
        self.closed = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if seed is not None:
            Troubled.seeds.append(seed)
            self.seed = seed
        self.episode += 1
        self.step_of_episode = 0
        told = Troubled.in_reset(self.instance, self.episode)
        return self._observation() if told is None else told, {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.step_of_episode += 1
        reward = 1.0
        told = Troubled.in_step(self.instance, self.steps)
        observation = self._observation()
        if isinstance(told, float):
            reward = told
        elif told is not None:
            observation = told
        return observation, reward, False, self.step_of_episode == LONG, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.instance, self.episode, self.step_of_episode, self.seed % 1000], np.float32)


NAN = np.full(4, np.nan, np.float32)
INFINITE = np.full(4, np.inf, np.float32)


def raises_at(instance: int, step: int, error: BaseException | None = None) -> Callable[[int, int], None]:
    def trouble(which: int, now: int) -> None:
        if (which, now) == (instance, step):
            raise error or RuntimeError("the simulator lost its licence")

    return trouble


def gives_at(instance: int, step: int, value: Any) -> Callable[[int, int], Any]:
    return lambda which, now: value if (which, now) == (instance, step) else None
