"""Environments that train badly, each for one reason, made out of one that trains well. Registered on import."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

LIMIT = 150


class Cart(gym.Env[np.ndarray, np.ndarray]):
    """A point that is pushed to the origin by two forces; nothing is wrong with it."""

    observation_space: gym.Space[Any] = gym.spaces.Box(-10, 10, (4,), np.float32)
    action_space: gym.Space[Any] = gym.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self) -> None:
        self.place = np.zeros(2)
        self.speed = np.zeros(2)
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-2, 2, 2)
        self.speed = self.np_random.uniform(-1, 1, 2)
        self.steps = 0
        return self.observed(), {}

    def observed(self) -> np.ndarray:
        return np.concatenate([self.place, self.speed]).astype(np.float32)

    def pushed(self, action: np.ndarray) -> None:
        self.speed = 0.9 * self.speed + 0.3 * np.asarray(action, np.float64)
        self.place = np.clip(self.place + 0.1 * self.speed, -10, 10)

    def reward(self) -> float:
        return -float(np.square(self.place).sum())

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.pushed(action)
        is_lost = bool(np.abs(self.place).max() > 9)
        return self.observed(), self.reward(), is_lost, not is_lost and self.steps >= LIMIT, {}


class DeadSensor(Cart):
    def observed(self) -> np.ndarray:
        return super().observed() * np.array([1, 1, 0, 1], np.float32)


class Blind(Cart):
    def observed(self) -> np.ndarray:
        return np.zeros(4, np.float32)


class Unscaled(Cart):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def observed(self) -> np.ndarray:
        return super().observed() * np.array([1, 5000, 1, 1], np.float32)


class FarFromZero(Cart):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def observed(self) -> np.ndarray:
        return super().observed() + np.array([0, 0, 5e6, 0], np.float32)


class Glitching(Cart):
    calls = 0
    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def observed(self) -> np.ndarray:
        observed = super().observed()
        self.calls += 1
        if self.calls == 130:
            observed[1] = 1e6
        return observed


class NotFinite(Cart):
    def observed(self) -> np.ndarray:
        return super().observed() * np.float32(np.nan if self.steps > 20 else 1)


class OutOfBounds(Cart):
    observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)


class WrongShape(Cart):
    def observed(self) -> np.ndarray:
        return super().observed()[: 3 if self.steps > 20 else 4]


class NoReward(Cart):
    def reward(self) -> float:
        return 0.0


class HugeReward(Cart):
    def reward(self) -> float:
        return 1e7 * super().reward()


class TinyReward(Cart):
    def reward(self) -> float:
        return 1e-9 * super().reward()


class RewardGlitch(Cart):
    calls = 0

    def reward(self) -> float:
        self.calls += 1
        return 1e6 if self.calls == 130 else super().reward()


class SameReturn(Cart):
    def reward(self) -> float:
        return -1.0


class RewardIsNone(Cart):
    def reward(self) -> Any:
        return None if self.steps > 20 else 0.5


class Endless(Cart):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observed, reward, _, _, info = super().step(action)
        return observed, reward, False, False, info


class LimitAsEnd(Cart):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observed, reward, terminated, truncated, info = super().step(action)
        return observed, reward, terminated or truncated, False, info


class OverAtOnce(Cart):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observed, reward, _, _, info = super().step(action)
        return observed, reward, True, False, info


class PaidAtTheEnd(Cart):
    length = 550

    def reward(self) -> float:
        return float(self.steps == self.length)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observed, reward, _, _, info = super().step(action)
        return observed, reward, False, self.steps >= self.length, info


class GlobalNoise(Cart):
    def observed(self) -> np.ndarray:
        return super().observed() + np.random.default_rng().normal(0, 0.01, 4).astype(np.float32)


class SeedIgnored(Cart):
    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        return super().reset(seed=None)


class LeakingReset(Cart):
    def __init__(self) -> None:
        super().__init__()
        self.wear = 0.0

    def pushed(self, action: np.ndarray) -> None:
        self.wear += 1e-3
        super().pushed(np.asarray(action) / (1 + self.wear))


class ActionLost(Cart):
    def pushed(self, action: np.ndarray) -> None:
        super().pushed(np.zeros(2))


class OneActionLost(Cart):
    def pushed(self, action: np.ndarray) -> None:
        super().pushed(np.asarray(action) * np.array([1, 0]))


class Crashing(Cart):
    def pushed(self, action: np.ndarray) -> None:
        if self.steps == 30:
            raise RuntimeError("the joint is gone")
        super().pushed(action)


class Leaking(Cart):
    kept: ClassVar[list[np.ndarray]] = []

    def pushed(self, action: np.ndarray) -> None:
        self.kept.append(np.ones(4_000))
        super().pushed(action)


class OldApi(Cart):
    def step(self, action: np.ndarray) -> Any:
        return super().step(action)[:4]


class MaskWithoutChoice(Cart):
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        return super().reset(seed=seed)[0], {"action_mask": np.ones(3, np.int8)}

    def pushed(self, action: Any) -> None:
        super().pushed(np.full(2, action - 1))

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        result = super().step(action)
        return *result[:4], {"action_mask": np.full(3, self.steps != 40, np.int8)}


class NotClosing(Cart):
    def close(self) -> None:
        raise LookupError("no such window")


class Leaving(Cart):
    def close(self) -> None:
        raise SystemExit(5)


FAULTY = list(Cart.__subclasses__())
for kind in (Cart, *FAULTY):
    gym.register(f"{kind.__name__}-v0", entry_point=kind)
