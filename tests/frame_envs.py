"""Environments that observe pictures no two of which are alike, and that remember which ones came before each."""

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dppo.actor.envs.interface import Environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments

SIDE = 8


class Pictures(gym.Env[Any, Any]):
    """Random pictures, whose first four bytes are their number; episodes end one way or the other, or crash."""

    action_space = spaces.Discrete(3)
    numbers = itertools.count()
    history: dict[int, list[int]] = {}  # noqa: RUF012 -- of all of them: by number, those of its episode up to it

    def __init__(self, *shape: int, crashes: float = 0.0, beside: bool = False) -> None:
        """beside: observe a vector and another picture too."""
        picture = spaces.Box(0, 255, shape or (SIDE, SIDE), np.uint8)
        self.observation_space: Any = picture
        if beside:
            self.observation_space = spaces.Dict(a=picture, b=spaces.Box(-1, 1, (2,)), c=picture)
        self.shape, self.crashes, self.beside = picture.shape, crashes, beside

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.seen: list[int] = []
        return self.observe(), {}

    def observe(self) -> Any:
        number = next(Pictures.numbers)
        self.seen.append(number)
        Pictures.history[number] = list(self.seen)
        picture = self.np_random.integers(0, 256, self.shape, np.uint8)
        picture.reshape(-1)[:4] = np.array([number], "<u4").view(np.uint8)
        if not self.beside:
            return picture
        return {"a": picture, "b": self.np_random.uniform(-1, 1, 2).astype(np.float32), "c": picture.copy()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.np_random.random() < self.crashes:
            raise RuntimeError("broken")
        how = int(self.np_random.integers(10))
        return self.observe(), float(self.np_random.normal()), how == 0, how == 1, {}


def number_of(pictures: np.ndarray, lead: int) -> np.ndarray:
    """Numbers of pictures [..., *shape] with `lead` dimensions before the shape."""
    flat = pictures.reshape(*pictures.shape[:lead], -1)[..., :4]
    return np.ascontiguousarray(flat).view("<u4")[..., 0]


def expected_stack(number: int, frames: int) -> list[int]:
    """Numbers of the newest frames of its episode at that picture, the first one repeated before them."""
    seen = Pictures.history[number]
    return ([seen[0]] * frames + seen)[-frames:]


WAYS = ("sync", *AutoresetMode, "crashing")


def made(way: Any, envs: int, *shape: int, beside: bool = False) -> Environments:
    def make(column: int = 0) -> Pictures:
        return Pictures(*shape, crashes=0.05 * (way == "crashing"), beside=beside)

    if way in ("sync", "crashing"):
        return SyncLoop([make() for _ in range(envs)], make=make)
    return VectorEnvironments(SyncVectorEnv([make] * envs, autoreset_mode=way), "test", "per_column")
