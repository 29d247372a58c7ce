"""Single environments stepped one after the other in this process. Knows Gymnasium's Env; knows no vector API.

Why not gymnasium.vector.SyncVectorEnv: at 8 environments a step costs 13-16 us more when we reset what has ended
(CartPole-v1: 64 us against 48), it merges every info dict key by key into arrays that nobody reads, and here an ended
episode's true last observation is at hand, so no row is ever wasted on a reset. One that crashes is made again alone.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from actor.step import SUCCESS, Crash, Step, successes_of
from protocol.errors import DppoError, UsageError
from protocol.rollout import Leaves
from protocol.specs import spec_of


class SyncLoop:
    """E single environments; ended episodes are reset within the step that ended them."""

    indivisible = False

    def __init__(
        self, environments: Sequence[gym.Env[Any, Any]], make: Callable[[], gym.Env[Any, Any]] | None = None
    ) -> None:
        """make: one more of them, for `restart`."""
        self.spec = spec_of(environments[0].observation_space, environments[0].action_space)
        self.envs = len(environments)
        self.description = f"sync: a loop over {self.envs} environments, each reset within the step that ended it"
        self.column: int | None = 0
        self._environments = list(environments)
        self._make = make
        (self._leaf,) = self.spec.observation
        self._discrete_action = self.spec.action[0].kind == "discrete"
        self._action_dtype = environments[0].action_space.dtype
        self._no_finals = {self._leaf.name: np.empty((0, *self._leaf.shape), self._leaf.dtype)}
        self._valid = np.ones(self.envs, bool)  # the same array in every step: no row is ever only a reset
        self._valid.flags.writeable = False
        self._no_successes = np.full(self.envs, np.nan, np.float32)  # likewise, in steps that end no episode
        self._no_successes.flags.writeable = False

    def reset(self, seeds: Sequence[int]) -> Leaves:
        """Start E episodes, one seed a column; leaf name -> [E, ...]."""
        rows = self._empty_rows()
        for column, (environment, seed) in enumerate(zip(self._environments, seeds, strict=True)):
            self.column = column
            rows[column] = self._first_observation(environment, seed)
        return {self._leaf.name: rows}

    def restart(self, columns: Sequence[int], seeds: Sequence[int]) -> Leaves:
        """Make these again and start new episodes; leaf name -> [k, ...]."""
        assert self._make is not None, "who restarts says how to make"
        rows = np.empty((len(columns), *self._leaf.shape), self._leaf.dtype)
        for row, (column, seed) in enumerate(zip(columns, seeds, strict=True)):
            self.column = column
            with contextlib.suppress(Exception):  # it is broken: that it cannot even be closed is no news
                self._environments[column].close()
            self._environments[column] = self._make()
            rows[row] = self._first_observation(self._environments[column], seed)
        return {self._leaf.name: rows}

    def _first_observation(self, environment: gym.Env[Any, Any], seed: int) -> Any:
        environment.action_space.seed(seed)
        observation, _ = environment.reset(seed=seed)
        if np.shape(observation) != self._leaf.shape:  # would be broadcast, in silence
            raise UsageError(
                f"the environment's reset gave an observation of shape {np.shape(observation)}, "
                f"but its observation_space says {self._leaf.shape}"
            )
        return observation

    def step(self, env_action: np.ndarray) -> Step:
        """Do env_action [E, ...] in column order."""
        rows = self._empty_rows()
        rewards = np.empty(self.envs, np.float32)
        terminated, truncated = np.zeros((2, self.envs), bool)
        finals = []
        reported: dict[int, Any] = {}
        crashes: list[Crash] = []
        during: Literal["step", "reset"] = "step"
        for column, (environment, action) in enumerate(zip(self._environments, self._actions(env_action), strict=True)):
            self.column = column
            try:
                rows[column], rewards[column], is_terminal, is_limit, info = environment.step(action)
                if is_terminal or is_limit:
                    if SUCCESS in info:
                        reported[column] = info[SUCCESS]
                    if not is_terminal:
                        finals.append(rows[column].copy())
                    terminated[column], truncated[column] = is_terminal, not is_terminal
                    during = "reset"
                    rows[column], _ = environment.reset()
                    during = "step"
            except DppoError:
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a simulator raises, the others go on
                crashes.append(Crash(column, during, error))
                during = "step"
                rows[column] = 0
        final_observations = {self._leaf.name: np.stack(finals)} if finals else self._no_finals
        successes = successes_of(reported, self._no_successes)
        valid = self._valid
        if crashes:
            valid = valid.copy()
            for crash in crashes:
                if crash.during == "step":
                    rewards[crash.column], valid[crash.column] = 0, False
        leaves = {self._leaf.name: rows}
        return Step(leaves, rewards, terminated, truncated, valid, final_observations, successes, crashes)

    def waiting_for(self) -> Sequence[int]:
        """Nobody: there are no processes."""
        return ()

    def tell_stack(self, column: int) -> None:
        """Nothing to do: the stack is this process's."""

    def close(self) -> None:
        """Close every environment."""
        for environment in self._environments:
            environment.close()

    def _empty_rows(self) -> np.ndarray:
        return np.empty((self.envs, *self._leaf.shape), self._leaf.dtype)

    def _actions(self, env_action: np.ndarray) -> Sequence[Any]:
        if self._discrete_action:
            actions: list[int] = env_action.tolist()  # plain ints: what every environment takes
            return actions
        return list(env_action.astype(self._action_dtype, copy=False))
