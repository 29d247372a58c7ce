"""A game of three lives in ale-py's words: a vector environment of its own, with its arguments, infos and autoreset."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

GAME = "lives_env:Lives-v0"
ENTRY_POINT = "lives_env:LivesVector"
POINTS, LIFE, LIVES = 7, 4, 3  # of a step; steps of a life; lives


class LivesVector(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A picture that is brighter in each step, in 12 x 8 colours where it is asked for."""

    made: list["LivesVector"] = []  # noqa: RUF012

    def __init__(
        self,
        num_envs: int,
        reward_clipping: bool = True,
        life_loss_info: bool = False,
        episodic_life: bool = False,
        autoreset_mode: str = "NextStep",
        grayscale: bool = True,
        img_height: int = 4,
        img_width: int = 4,
        stack_num: int = 4,
        frameskip: int = 4,
        max_episode_steps: int | None = None,
    ) -> None:
        shape = (stack_num, img_height, img_width) if grayscale else (stack_num, img_height, img_width, 3)
        self.num_envs, self.metadata = num_envs, {"autoreset_mode": AutoresetMode(autoreset_mode)}
        self.single_observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self.single_action_space = gym.spaces.Discrete(2)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.is_clipped, self.ends_with_a_life, self.kind = reward_clipping, life_loss_info or episodic_life, shape
        self.steps, self.seed = 0, -1
        self.made.append(self)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.steps, self.seed = 0, seed
        return self._pictures(), self._infos()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        assert actions.shape == (self.num_envs,)
        self.steps += 1
        is_over = self.steps == LIFE * LIVES or (self.ends_with_a_life and self.steps % LIFE == 0)
        rewards = np.full(self.num_envs, 1 if self.is_clipped else POINTS, np.int32)
        ends = np.full(self.num_envs, is_over)
        return self._pictures(), rewards, ends, np.zeros(self.num_envs, bool), self._infos()

    def _pictures(self) -> np.ndarray:
        return np.full((self.num_envs, *self.kind), 20 * self.steps, np.uint8)

    def _infos(self) -> dict[str, Any]:
        return {"lives": np.full(self.num_envs, LIVES - self.steps // LIFE, np.int32)}


class Screen(gym.Env[np.ndarray, int]):
    """A single game, which is asked for its size only."""

    observation_space = gym.spaces.Box(0, 255, (12, 8, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)


gym.register("Lives-v0", entry_point="lives_env:Screen", vector_entry_point=ENTRY_POINT)
