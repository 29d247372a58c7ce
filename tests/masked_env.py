"""Environments that forbid actions at random, say so in every form and place, and notice one that they forbid."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from acting_envs import leaves_in_order
from gymnasium import spaces

OBSERVED = spaces.Box(-1, 1, (3,))
Source = Literal["info", "method", "leaf"]
Form = Literal["flat", "nested"]
LEAF = "observation.action_mask"


class Masked(gym.Env[Any, Any]):
    """Random observations and masks. After an episode's end no action is legal, as in many games."""

    def __init__(self, action_space: gym.Space[Any], source: Source = "info", form: Form = "flat") -> None:
        self.action_space, self.source, self.form = action_space, source, form
        self.choices = [count for _, leaf in elements(action_space) for count in leaf]
        self.size = sum(self.choices)
        self.observation_space = OBSERVED
        if source == "leaf":
            parts = {"action_mask": spaces.Box(0, 1, (self.size,), np.int8), "seen": OBSERVED}
            self.observation_space = spaces.Dict(parts)
        if source == "method":
            self.action_masks = self.masks
        self.legal = np.ones(self.size, bool)
        self.wrong: list[str] = []
        self.seen: list[np.ndarray] = []  # every mask to act on, as it was

    def masks(self) -> Any:
        if self.form == "flat":
            return self.legal.astype(self.np_random.choice(["bool", "int8", "float32"]))
        return nested(self.action_space, iter(np.split(self.legal.astype(np.int8), np.cumsum(self.choices)[:-1])))

    def _given(self) -> tuple[Any, dict[str, Any]]:
        observed = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        if self.source == "leaf":
            return {"action_mask": self.legal.astype(np.int8), "seen": observed}, {}
        return observed, {"action_mask": self.masks()} if self.source == "info" else {}

    def _draw(self) -> None:
        parts = [self.np_random.random(count) < 0.5 for count in self.choices]
        for part in parts:
            part[self.np_random.integers(len(part))] = True
        self.legal = np.concatenate(parts)
        self.seen.append(self.legal.copy())

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._draw()
        return self._given()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            self.wrong.append(f"{action!r} is not in {self.action_space}")
        first = 0
        for place, count in zip(chosen(self.action_space, action), self.choices, strict=True):
            if not self.legal[first + place]:
                self.wrong.append(f"{action!r} is forbidden by {self.legal}")
            first += count
        how = int(self.np_random.integers(8))
        self._draw()
        if how <= 1:
            self.legal[:] = False
            self.seen.pop()
        observed, info = self._given()
        if how <= 1 and self.source == "info" and how:
            info = {}  # some have none at the end
        return observed, float(self.np_random.normal()), how == 0, how == 1, info


ALL = np.ones(2, bool)
ONE = np.array([False, True])
ZEROS = np.zeros(2, np.float32)
Mask = Callable[["Gives"], Any]
MISSING = object()


class Gives(gym.Env[Any, Any]):
    """Masks that a test says, from a step on; episodes of six steps."""

    def __init__(
        self, mask: Mask = lambda env: ALL, *, at: int = 99, first: Any = ALL, space: Any = spaces.Discrete(2)
    ) -> None:
        self.observation_space, self.action_space = spaces.Box(-1, 1, (2,)), space
        self._mask, self._at, self._first = mask, at, first
        self.steps = self.resets = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        self.resets += 1
        return ZEROS, {} if self._first is MISSING else {"action_mask": self._first}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        mask = self._mask(self) if self.steps >= self._at else self._first
        info = {} if mask is MISSING else {"action_mask": mask}
        return ZEROS, 1.0, self.steps == 6, False, info


class Late(Gives):
    """An environment that says what is legal from its second episode on, or from a step of it on."""

    def __init__(self, *, from_step: bool = False) -> None:
        super().__init__(first=MISSING)
        self.from_step = from_step

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(**options)
        self._mask, self._at = (lambda env: ONE), 2 if self.resets > 1 else 99
        return observation, {"action_mask": ONE} if self.resets > 1 and not self.from_step else info


def elements(space: gym.Space[Any]) -> Iterator[tuple[Any, list[int]]]:
    """Spaces within the space, and how many choices each of their elements has."""
    for leaf, _ in leaves_in_order(space, space.sample()):
        if isinstance(leaf, spaces.Discrete):
            yield leaf, [int(leaf.n)]
        elif isinstance(leaf, spaces.MultiDiscrete):
            yield leaf, [int(count) for count in leaf.nvec.ravel()]
        elif isinstance(leaf, spaces.MultiBinary):
            yield leaf, [2] * int(np.prod(leaf.shape))
        elif isinstance(leaf, spaces.Box) and leaf.dtype.kind in "iu":
            yield leaf, [int(count) + 1 for count in (leaf.high - leaf.low).ravel()]
        else:
            yield leaf, []


def chosen(space: gym.Space[Any], action: Any) -> list[int]:
    """The choices in an action, counted from 0."""
    found: list[int] = []
    for leaf, value in leaves_in_order(space, action):
        if isinstance(leaf, spaces.Discrete):
            found.append(int(value) - int(leaf.start))
        elif isinstance(leaf, spaces.MultiDiscrete):
            found += (np.asarray(value) - leaf.start).ravel().tolist()
        elif isinstance(leaf, spaces.MultiBinary):
            found += np.asarray(value).ravel().tolist()
        elif isinstance(leaf, spaces.Box) and leaf.dtype.kind in "iu":
            found += (np.asarray(value) - leaf.low).ravel().tolist()
    return found


def nested(space: gym.Space[Any], parts: Iterator[np.ndarray]) -> Any:
    """The mask that `space.sample(mask)` takes, of flags for each element."""
    if isinstance(space, spaces.Dict):
        return {key: nested(inner, parts) for key, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(nested(inner, parts) for inner in space.spaces)
    if isinstance(space, spaces.Discrete):
        return next(parts)
    if isinstance(space, spaces.MultiDiscrete):
        return _in_tuples(space.nvec, parts)
    if isinstance(space, spaces.MultiBinary):
        size = int(np.prod(space.shape))
        flags = [next(parts) for _ in range(size)]
        return np.array([2 if all(pair) else int(pair[1]) for pair in flags], np.int8).reshape(space.shape)
    return None


def _in_tuples(counts: np.ndarray, parts: Iterator[np.ndarray]) -> Any:
    return tuple(next(parts) if np.ndim(count) == 0 else _in_tuples(count, parts) for count in counts)
