"""Spaces of every supported kind, generated, and an environment that observes any of them."""

import copy
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from hypothesis import strategies as st

FLOATS = (np.float16, np.float32, np.float64)
INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.bool_)


class Anything(gym.Env[Any, Any]):
    """Random observations of its space. Does with what it is given, and with what it gave, what environments do."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self._buffers: dict[int, np.ndarray] = {}  # by space
        self.reuses_finals = True
        self.wrong: list[str] = []
        self.actions: list[np.ndarray] = []
        self.observed: list[bytes] = []  # every observation, as carried
        self._given: list[tuple[Any, Any]] = []  # every action as an object, and what was in it
        self._steps = 0

    def _observation(self, space: Any) -> Any:
        random = self.np_random
        if isinstance(space, gym.spaces.Dict):
            return {key: self._observation(inner) for key, inner in reversed(space.spaces.items())}
        if isinstance(space, gym.spaces.Tuple):
            return tuple(self._observation(inner) for inner in space.spaces)
        if isinstance(space, gym.spaces.Discrete):
            return space.start + random.integers(space.n)
        buffer = self._buffers.setdefault(id(space), np.zeros(space.shape, space.dtype))
        if isinstance(space, gym.spaces.MultiDiscrete | gym.spaces.MultiBinary):
            space.seed(int(random.integers(2**31)))
            buffer[...] = space.sample()
            return buffer
        if space.dtype.kind == "f":
            values = random.standard_normal(space.shape) * random.choice([1.0, 1e3])
            with np.errstate(all="ignore"):
                values = np.clip(values, space.low.astype(np.float64), space.high.astype(np.float64)).astype(
                    space.dtype
                )
        else:
            pairs = zip(space.low.ravel().tolist(), space.high.ravel().tolist(), strict=True)
            flat = [int(low) + int(random.integers(10**6)) % (int(high) - int(low) + 1) for low, high in pairs]
            values = np.array(flat, space.dtype).reshape(space.shape)
        buffer[...] = values  # the same array every time, written over
        return buffer

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._noted(self._observation(self.observation_space)), {}

    def _noted(self, observation: Any) -> Any:
        self.observed.append(carried(self.observation_space, observation))
        return observation

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.wrong += [f"given {then} it holds {now} now" for now, then in self._given if not np.array_equal(now, then)]
        if not self.action_space.contains(action):
            self.wrong.append(f"{action!r} is not in {self.action_space}")
        self.actions.append(np.array(action))
        if isinstance(action, np.ndarray) and action.flags.writeable and len(self.actions) % 3 == 0:
            action[...] = 0  # some write into it
        self._given.append((action, np.array(action)))
        self._steps += 1
        how = int(self.np_random.integers(8))
        observed = self._noted(self._observation(self.observation_space))
        if how <= 1 and not self.reuses_finals:
            observed = copy.deepcopy(observed)
        return observed, float(self.np_random.normal()), how == 0, how == 1, {}


def leaves_in_order(space: gym.Space[Any], observation: Any) -> list[Any]:
    if isinstance(space, gym.spaces.Dict):
        inner: Any = space.spaces.items()
    elif isinstance(space, gym.spaces.Tuple):
        inner = enumerate(space.spaces)
    else:
        return [observation]
    return [leaf for key, of_key in inner for leaf in leaves_in_order(of_key, observation[key])]


def carried(space: gym.Space[Any], observation: Any) -> bytes:
    """Return what must arrive of an observation: floats as float32, flags as bools, all other numbers as they are."""
    numbers: list[Any] = []
    for value in leaves_in_order(space, observation):
        array = np.asarray(value)
        numbers.append(array.astype(np.float32 if array.dtype.kind == "f" else np.int64).tobytes())
    return b"|".join(numbers)


def rebuilt(space: gym.Space[Any], leaves: Iterator[Any]) -> Any:
    """The structure of the space, of leaves in order."""
    if isinstance(space, gym.spaces.Dict):
        return {key: rebuilt(inner, leaves) for key, inner in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(rebuilt(inner, leaves) for inner in space.spaces)
    return next(leaves)


def shapes(least: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, 3), min_size=least, max_size=3).map(tuple)


@st.composite
def float_boxes(draw: st.DrawFn, beyond_float32: bool = False) -> gym.spaces.Box:
    dtype = draw(st.sampled_from(FLOATS))
    shape = draw(shapes())
    number = st.one_of(
        st.sampled_from([0.0, 0.1, 0.3, -0.7, 1000.0, -1000.0, np.inf, -np.inf]),
        st.floats(-100, 100),
        *([st.sampled_from([1e38, -1e38, 3e38, -3.4e38])] * (dtype is not np.float16)),
        *([st.sampled_from([1e300, -1e300, 1e-300])] * (dtype is np.float64 and beyond_float32)),
    )
    size = int(np.prod(shape))
    uniform = draw(st.booleans())
    bounds = np.array([sorted((draw(number), draw(number))) for _ in range(1 if uniform else size)], dtype)
    if draw(st.integers(0, 4)) == 0:
        bounds[:, 1] = bounds[:, 0]
    bounds[bounds[:, 0] == np.inf] = [0, np.inf]  # nothing is above it
    bounds[bounds[:, 1] == -np.inf] = [-np.inf, 0]
    low, high = (np.broadcast_to(side, size).reshape(shape) for side in bounds.T)
    return gym.spaces.Box(low.astype(dtype), high.astype(dtype), shape, dtype)


@st.composite
def integer_boxes(draw: st.DrawFn) -> gym.spaces.Box:
    dtype = draw(st.sampled_from(INTEGERS))
    shape = draw(shapes())
    if dtype is np.bool_:
        return gym.spaces.Box(np.zeros(shape, bool), np.ones(shape, bool), shape, dtype)
    kind = np.iinfo(dtype)
    ends = st.sampled_from([kind.min, kind.max, 0, 1, 100]) | st.integers(int(kind.min), int(kind.max))
    low, high = sorted((draw(ends), draw(ends)))
    return gym.spaces.Box(low, high, shape, dtype)


def discrete() -> st.SearchStrategy[gym.spaces.Discrete]:
    starts = st.sampled_from([0, 1, -1, 2**31, -(2**31)]) | st.integers(-1000, 1000)
    return st.builds(lambda n, start: gym.spaces.Discrete(n, start=start), st.integers(1, 7), starts)


@st.composite
def multi_discrete(draw: st.DrawFn) -> gym.spaces.MultiDiscrete:
    shape = draw(shapes(least=1))
    size = int(np.prod(shape))
    several = draw(st.lists(st.integers(1, 5), min_size=size, max_size=size))
    starts = draw(st.lists(st.sampled_from([0, 1, -3, 2**31]), min_size=size, max_size=size))
    return gym.spaces.MultiDiscrete(np.reshape(several, shape), start=np.reshape(starts, shape))


def multi_binary() -> st.SearchStrategy[gym.spaces.MultiBinary]:
    return st.builds(gym.spaces.MultiBinary, st.integers(1, 4) | shapes(least=1).map(list))


FLAT = float_boxes() | integer_boxes() | discrete() | multi_discrete() | multi_binary()
KEYS = st.sampled_from(["position", "goal", "action", "noise", "observation", "log_prob", "0", "a.b", "a-b", "", "é"])


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    dicts = st.dictionaries(KEYS, inner, min_size=1, max_size=3).map(gym.spaces.Dict)
    return dicts | st.lists(inner, min_size=1, max_size=3).map(gym.spaces.Tuple)


OBSERVATIONS = FLAT | st.recursive(nested(FLAT), nested, max_leaves=3)
ACTIONS = float_boxes(beyond_float32=True) | discrete()

CHOICES = gym.spaces.MultiDiscrete([[2, 3]], start=[[5, 0]])
DEEP = gym.spaces.Dict(
    {
        "action": gym.spaces.Discrete(3, start=-1),
        "arm": gym.spaces.Tuple([gym.spaces.Box(-9, 9, (2, 2)), gym.spaces.Dict({"a.b": CHOICES})]),
        "noise": gym.spaces.MultiBinary(3),
        "picture": gym.spaces.Box(0, 255, (3, 3, 2), np.uint8),
    }
)
