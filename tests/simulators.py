"""Environments for tests of whole processes, which load them by "simulators:<id>" with this folder in PYTHONPATH."""

import collections
import ctypes
import itertools
import os
import time
import uuid
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

BREAKING = "simulators:Breaking-v0"
BLOWN_UP = "simulators:BlownUp-v0"
INSTALLED = "simulators:Installed-v0"
FAILING = "simulators:Failing-v0"
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


class Failing(CartPoleEnv):
    """At a certain step it sleeps for ever, or otherwise leaves its actor; only the first one to get there, if told."""

    def __init__(self, how: str, step: int, once: str = "", at: str = "step") -> None:
        """once: a file that the first one makes, and the others leave it at that. at: step, reset or making."""
        super().__init__()
        self._how, self._countdown, self._once, self._at = how, step, once, at
        if at == "making":
            self._fail()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if self._at == "reset" and self._countdown < 0:
            self._fail()
        return super().reset(seed=seed, options=options)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(SLOW_STEP_SECONDS / 4)
        self._countdown -= 1
        if self._countdown < 0 and self._at == "step":
            self._fail()
        return super().step(action)

    def _fail(self) -> None:
        if self._once and os.environ.get("DPPO_ACTOR") == "probe":  # tried before the run: the first actor is to fail
            return
        if self._once:
            try:
                os.close(os.open(self._once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
        match self._how:
            case "sleep":
                time.sleep(10_000)
            case "hold":  # the interpreter, as C code does that never gives it back
                ctypes.PyDLL(None).sleep(10_000)
            case "spin":  # the same, and no signal interrupts it
                collections.deque(itertools.repeat(0), maxlen=0)
            case "crash":
                ctypes.string_at(0)
            case "raise":
                raise RuntimeError("the simulator lost its licence")
            case how:
                os._exit(int(how))


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


class Regular(gym.Env[np.ndarray, int]):
    """Moves by its action; the episode's number decides how long it is. Without any randomness of its own."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,))
        self.action_space = gym.spaces.Discrete(3)
        self.episode, self.place, self.time = 0, 0.0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.place, self.time = self.episode + 1, 0.0, 0
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place += int(action) - 1
        self.time += 1
        is_over = self.time >= 3 + (5 * self.episode) % 7 or abs(self.place) > 4
        limit = is_over and self.episode % 3 == 0
        return self._observation(), -abs(self.place), is_over and not limit, limit, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.place, self.time, self.episode % 5], np.float32)


class RegularVector(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Many of them, each of which resets itself in the step after its episode's end."""

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1, **_: Any) -> None:
        self.num_envs = num_envs
        self._envs = [Regular() for _ in range(num_envs)]
        self.single_observation_space = self._envs[0].observation_space
        self.single_action_space = self._envs[0].action_space
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self._over = np.zeros(num_envs, bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        self._over[:] = False
        return np.stack([env.reset()[0] for env in self._envs]), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        rows = [
            (env.reset()[0], 0.0, False, False) if over else env.step(action)[:4]
            for env, action, over in zip(self._envs, actions, self._over, strict=True)
        ]
        observations, rewards, terminated, truncated = (np.array(column) for column in zip(*rows, strict=True))
        self._over = terminated | truncated
        return observations, rewards, terminated, truncated, {}


gym.register("Regular-v0", entry_point="simulators:Regular", vector_entry_point="simulators:RegularVector")
gym.register("GatedCartPole-v0", entry_point="simulators:GatedCartPole", max_episode_steps=500)
gym.register("Breaking-v0", entry_point="simulators:Breaking", max_episode_steps=500)
gym.register("BlownUp-v0", entry_point="simulators:BlownUp", max_episode_steps=500)
gym.register("Failing-v0", entry_point="simulators:Failing", max_episode_steps=500)
gym.register("Installed-v0", entry_point="simulators:Installed", max_episode_steps=100)
