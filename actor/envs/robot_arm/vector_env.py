"""RobotArm-v0, E arms in arrays. Knows Gymnasium's vector API; the arithmetic is the single arm's, in dynamics.py.

Every column has its own generator and draws from it what a single environment with the same seed would draw: what
happens in a column does not depend on how many there are.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from dppo.actor.envs.robot_arm.dynamics import (
    Arms,
    Posture,
    at_rest,
    check_goal,
    check_task,
    draw_start,
    observation_bounds,
    observe,
    posture,
    rewards_of,
    turn,
)
from dppo.protocol.errors import UsageError


class RobotArmVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """E arms that are stepped together; a column that has ended is reset within the same step.

    Its last observation and info are then in info["final_obs"] and info["final_info"].
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]  # as in VectorEnv but for ClassVar
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "seed_per_column": True,
    }

    def __init__(
        self,
        *,
        num_envs: int = 1,
        mode: str = "easy",
        reward: str = "hold",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Raises UsageError for unknown names, and for any render_mode."""
        if render_mode is not None:
            raise UsageError(f"render_mode {render_mode!r}: many arms at once are not drawn, use vectorization 'sync'")
        self._mode, self._reward = check_task(mode, reward)
        self.num_envs = num_envs
        low, high = observation_bounds(self._reward)
        self.single_observation_space = gym.spaces.Box(low, high)
        self.single_action_space = gym.spaces.Box(-1, 1, (2,))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._limit = max_episode_steps
        self._generators: list[np.random.Generator] = []  # one a column, from the first reset on
        self.arms = at_rest(np.zeros((num_envs, 2)), np.zeros((num_envs, 2)))
        self._steps = np.zeros(num_envs, np.int64)  # of the running episodes
        self._never = np.zeros(num_envs, bool)
        self._never.flags.writeable = False
        self._always = ~self._never
        self._always.flags.writeable = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,  # a list too, as in SyncVectorEnv
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start episodes in all columns, or in those that options["reset_mask"] [E] bool names.

        seed: one a column, or one for the first column and each later column one more. options["goal"] (x, y) fixes
        the goal of these episodes.
        """
        chosen = options or {}
        columns = np.flatnonzero(chosen.get("reset_mask", self._always))
        self._seed_columns(seed, columns)
        self._start(columns)
        if "goal" in chosen:
            self.arms.goals[columns] = check_goal(chosen["goal"])
        now = posture(self.arms)
        return observe(self._reward, self.arms, now), self._infos(self.arms, now, self._always)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Turn the joints of every arm by its action [2] * 0.1 radians."""
        if not self._generators:
            raise gym.error.ResetNeeded("call reset before the first step")
        self.arms, now = turn(self.arms, np.asarray(actions))
        self._steps += 1
        rewards = rewards_of(self._reward, self.arms, now)
        observations = observe(self._reward, self.arms, now)
        ended = self._never if self._limit is None else self._steps >= self._limit
        if not ended.any():
            return observations, rewards, self._never, ended, self._infos(self.arms, now, self._always)
        last = {
            "final_obs": observations,
            "_final_obs": ended,
            "final_info": self._infos(self.arms, now, ended),
            "_final_info": ended,
        }
        self.arms = Arms(*(array.copy() for array in self.arms))  # the last ones stay as they are
        self._start(np.flatnonzero(ended))
        now = posture(self.arms)
        infos = self._infos(self.arms, now, self._always) | last
        return observe(self._reward, self.arms, now), rewards, self._never, ended, infos

    def _seed_columns(self, seed: int | Sequence[int | None] | None, columns: np.ndarray) -> None:
        if seed is None or isinstance(seed, int | np.integer):
            seeds = [None if seed is None else int(seed) + column for column in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} environments")
        if not self._generators:
            self._generators = [seeding.np_random()[0] for _ in seeds]
        for column in columns:
            if seeds[column] is not None:
                self._generators[column], _ = seeding.np_random(seeds[column])

    def _start(self, columns: np.ndarray) -> None:
        for column in columns:
            self.arms.angles[column], self.arms.goals[column] = draw_start(self._generators[column], self._mode)
        self.arms.held_steps[columns] = 0
        self.arms.succeeded[columns] = False
        self._steps[columns] = 0

    def _infos(self, arms: Arms, now: Posture, told: np.ndarray) -> dict[str, Any]:
        """Pack infos as Gymnasium does: an array a key, and under `_key` which columns it is about."""
        return {
            "is_success": arms.succeeded,
            "_is_success": told,
            "held_steps": arms.held_steps,
            "_held_steps": told,
            "distance": now.distances,
            "_distance": told,
        }
