"""An environment of any combination of observation, action, mask, vectorisation and autoreset mode, and their names."""

import contextlib
import uuid
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from masked_env import chosen, elements

VECTOR = spaces.Box(-10, 10, (3,))
PICTURE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "vector": VECTOR,
    "number": spaces.Box(-np.inf, np.inf, (), np.float64),
    "half": spaces.Box(-1, 1, (2, 2), np.float16),
    "integers": spaces.Box(-5, 300, (3,), np.int64),
    "bytes": spaces.Box(0, 255, (4,), np.uint8),
    "discrete": spaces.Discrete(4, start=-1),
    "choices": spaces.MultiDiscrete([[2, 3]], start=[[5, 0]]),
    "flags": spaces.MultiBinary([2, 2]),
    "dict": spaces.Dict({"flags": spaces.MultiBinary(2), "kind": spaces.Discrete(3), "vector": VECTOR}),
    "tuple": spaces.Tuple([VECTOR, spaces.Dict({"a.b": spaces.Tuple([spaces.Discrete(2)]), "": VECTOR})]),
    "picture": PICTURE,
    "channels first": spaces.Box(0, 255, (1, 36, 36), np.uint8),
    "gray": spaces.Box(0, 255, (36, 36), np.uint8),
    "picture and more": spaces.Dict({"picture": PICTURE, "small": spaces.Box(0, 255, (3, 3), np.uint8), "x": VECTOR}),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(-1, 1, (2,)),
    "wide box": spaces.Box(np.float64([0, -100]), np.float64([0.1, 300]), dtype=np.float64),
    "endless box": spaces.Box(-np.inf, np.inf, (1,)),
    "integers": spaces.Box(-2, 2, (2,), np.int32),
    "discrete": spaces.Discrete(3),
    "discrete from 5": spaces.Discrete(4, start=5),
    "choices": spaces.MultiDiscrete([[2, 3], [4, 2]]),
    "flags": spaces.MultiBinary(3),
    "dict": spaces.Dict({"grip": spaces.Discrete(2), "move": spaces.Box(-1, 1, (2,))}),
    "tuple": spaces.Tuple([spaces.MultiBinary(2), spaces.Dict({"turn": spaces.MultiDiscrete([3, 2], start=[1, 0])})]),
}
MASKS = ("none", "info", "method", "observation.action_mask")
MODES = {"next_step": AutoresetMode.NEXT_STEP, "same_step": AutoresetMode.SAME_STEP, "disabled": AutoresetMode.DISABLED}


class Combined(gym.Env[Any, Any]):
    """Random observations and masks. Raises for an action outside its space, or a forbidden one. Counts its steps."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(
        self,
        observation: str = "vector",
        action: str = "discrete",
        mask: str = "none",
        autoreset: str = "",
        counts: str = "",
        render_mode: str | None = None,
    ) -> None:
        self.action_space, self.mask = ACTIONS[action], mask
        self.choices = [count for _, leaf in elements(self.action_space) for count in leaf]
        self.observed = OBSERVATIONS[observation]
        self.observation_space = self.observed
        if mask == MASKS[3]:
            parts = {"action_mask": spaces.MultiBinary(sum(self.choices)), "seen": self.observed}
            self.observation_space = spaces.Dict(parts)
        if mask == "method":
            self.action_masks = lambda: self.legal
        self.render_mode = render_mode
        self._counts = Path(counts) / uuid.uuid4().hex if counts else None  # not id(self): a later one may have it
        self._steps = 0

    def _given(self) -> tuple[Any, dict[str, Any]]:
        parts = [self.np_random.random(count) < 0.5 for count in self.choices]
        for part in parts:
            part[self.np_random.integers(len(part))] = True
        self.legal = np.concatenate([np.ones(0, bool), *parts])
        seen = drawn(self.observed, self.np_random)
        info = {"action_mask": self.legal} if self.mask == "info" else {}
        if self.mask == MASKS[3]:
            return {"action_mask": self.legal.astype(np.int8), "seen": seen}, info
        return seen, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._in_episode = 0
        return self._given()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is not in {self.action_space}")
        if self.mask != "none":
            first = 0
            for place, count in zip(chosen(self.action_space, action), self.choices, strict=True):
                if not self.legal[first + place]:
                    raise ValueError(f"{action!r} is forbidden by {self.legal}")
                first += count
        self._steps += 1
        self._in_episode += 1
        if self._counts is not None:
            self._counts.write_text(str(self._steps))
        observation, info = self._given()
        ends = self._in_episode >= 20 or self.np_random.random() < 0.1
        how = bool(self.np_random.random() < 0.5)
        return observation, float(self.np_random.normal()), ends and how, ends and not how, info

    def render(self) -> np.ndarray:
        return np.zeros((16, 16, 3), np.uint8)


def drawn(space: Any, rng: np.random.Generator) -> Any:
    """An observation of the space, by this generator."""
    if isinstance(space, spaces.Dict):
        return {key: drawn(inner, rng) for key, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(drawn(inner, rng) for inner in space.spaces)
    if isinstance(space, spaces.Discrete):
        return int(space.start + rng.integers(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return np.asarray(space.start + rng.integers(space.nvec), space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(0, 2, space.shape, np.int8)
    if space.dtype.kind == "f":
        return np.asarray(rng.uniform(-1, 1, space.shape), space.dtype)
    return rng.integers(space.low, space.high, space.shape, space.dtype, endpoint=True)


def counted(folder: Path) -> int:
    """Steps that all environments with this folder have done."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(ValueError):  # written this very moment
            total += int(path.read_text())
    return total


class Several(gym.vector.SyncVectorEnv):
    """A vector environment of Gymnasium's own, as a simulator brings one along, with the masks of all."""

    def __init__(self, num_envs: int, autoreset: str, **kwargs: Any) -> None:
        super().__init__([lambda: Combined(**kwargs)] * num_envs, autoreset_mode=MODES[autoreset])
        if kwargs.get("mask") == "method":
            self.action_masks = lambda: np.stack([env.unwrapped.legal for env in self.envs])


def make_vector(num_envs: int = 1, autoreset: str = "same_step", **kwargs: Any) -> Several:
    """The vector version, as gymnasium.make_vec calls it."""
    return Several(num_envs, autoreset, **kwargs)


gym.register("Combined-v0", entry_point=Combined, vector_entry_point=make_vector)
