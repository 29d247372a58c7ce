"""Environments that are slow now and then, in simulated time: each knows how long its next step takes. Nothing sleeps.

`REGISTRY` holds the newest environment of each slot, so that the simulated clock can ask it.
"""

from typing import Any, Literal, SupportsFloat

import gymnasium as gym
import numpy as np

FAST_SECONDS = 0.01
SLOWER = 10.0  # times

Kind = Literal["steps", "states", "environments", "equal"]
SHARE = 0.1  # of steps, of states, or of environments, that are slow
SPELL_STEPS = 20.0  # mean length of a spell of slow states
EPISODE_STEPS = 50
LEAN = 0.1  # radians of CartPole's pole; an episode ends at 0.21

REGISTRY: dict[int, "Speed"] = {}


class Speed:
    """Whether the next step of an environment is slow."""

    def __init__(self, slot: int, kind: Kind, seed: int) -> None:
        self._kind = kind
        self._random = np.random.default_rng((seed, slot))
        self.steps = self.slow_steps = 0  # that were made
        self.is_slow = slot % 10 == 9 if kind == "environments" else self._random.random() < SHARE
        if kind == "equal":
            self.is_slow = False
        REGISTRY[slot] = self

    def advance(self) -> None:
        """Count a step and go on to the next: independent of the one before, or in spells."""
        self.steps += 1
        self.slow_steps += int(self.is_slow)
        if self._kind == "steps":
            self.is_slow = self._random.random() < SHARE
        elif self._kind == "states":
            leaves = 1 / SPELL_STEPS if self.is_slow else SHARE / (1 - SHARE) / SPELL_STEPS
            self.is_slow = self.is_slow != (self._random.random() < leaves)

    @property
    def seconds(self) -> float:
        """Duration of the next step."""
        return FAST_SECONDS * (SLOWER if self.is_slow else 1.0)


def seconds_of(slots: range) -> float:
    """Duration of the next row of environments that step at the same time."""
    return max(REGISTRY[slot].seconds for slot in slots)


class Told(gym.Env[np.ndarray, np.ndarray]):
    """A task whose best action is the share of slow steps among those that are trained on.

    The reward is -(action - 1)^2 in a slow state and -action^2 in a fast one, and nothing that is observed says which:
    the best action is the share of slow states in the batch.
    """

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Box(-4, 4, (1,))

    def __init__(self, slot: int, kind: Kind, seed: int) -> None:
        self._speed = Speed(slot, kind, seed)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; the speed goes on."""
        super().reset(seed=seed)
        self._steps = 0
        return np.ones(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Pay for the action, by the state that it was taken in."""
        self._steps += 1
        reward = -((float(action[0]) - float(self._speed.is_slow)) ** 2)
        self._speed.advance()
        return np.ones(1, np.float32), reward, False, self._steps >= EPISODE_STEPS, {}


class Leaning(gym.Wrapper[np.ndarray, np.int64, np.ndarray, np.int64]):
    """CartPole-v1 that is slow in the states that matter most: while the pole leans by more than `LEAN`."""

    def __init__(self, slot: int) -> None:
        super().__init__(gym.make("CartPole-v1", disable_env_checker=True))
        self._speed = Speed(slot, "equal", 0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode, with the pole nearly upright."""
        observation, info = super().reset(seed=seed, options=options)
        self._speed.is_slow = abs(float(observation[2])) > LEAN
        return observation, info

    def step(self, action: np.int64) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step CartPole; the pole's angle decides how long the next step takes."""
        observation, reward, terminated, truncated, info = super().step(action)
        self._speed.advance()
        self._speed.is_slow = abs(float(observation[2])) > LEAN
        return observation, reward, terminated, truncated, info
