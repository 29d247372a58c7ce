"""Action spaces of every supported kind, generated, and an environment that checks what it is given."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st

INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
OBSERVED = spaces.Box(-1, 1, (3,))


class Acts(gym.Env[Any, Any]):
    """Random observations. Keeps a copy of every action, and what is wrong with it."""

    observation_space = OBSERVED

    def __init__(self, action_space: gym.Space[Any]) -> None:
        self.action_space = action_space
        self.actions: list[Any] = []
        self.wrong: list[str] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            self.wrong.append(f"{action!r} is not in {self.action_space}")
        self.wrong += wrong_dtypes(self.action_space, action)
        self.actions.append([np.array(leaf) for _, leaf in leaves_in_order(self.action_space, action)])
        for _, leaf in leaves_in_order(self.action_space, action):
            if isinstance(leaf, np.ndarray) and leaf.flags.writeable:
                leaf[...] = 0  # some write into it
        how = int(self.np_random.integers(8))
        observed = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return observed, float(self.np_random.normal()), how == 0, how == 1, {}


def leaves_in_order(space: gym.Space[Any], action: Any) -> list[tuple[gym.Space[Any], Any]]:
    if isinstance(space, spaces.Dict):
        assert list(action) == list(space.spaces), "keys, in the space's order"
        return [leaf for key, inner in space.spaces.items() for leaf in leaves_in_order(inner, action[key])]
    if isinstance(space, spaces.Tuple):
        assert type(action) is tuple
        pairs = zip(space.spaces, action, strict=True)
        return [leaf for inner, part in pairs for leaf in leaves_in_order(inner, part)]
    return [(space, action)]


def wrong_dtypes(space: gym.Space[Any], action: Any) -> list[str]:
    return [
        f"{leaf!r} is not of dtype {inner.dtype}"
        for inner, leaf in leaves_in_order(space, action)
        if not isinstance(inner, spaces.Discrete) and np.asarray(leaf).dtype != inner.dtype
    ]


def shapes(least: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, 3), min_size=least, max_size=2).map(tuple)


@st.composite
def float_boxes(draw: st.DrawFn) -> spaces.Box:
    low = draw(st.sampled_from([-1.0, 0.0, 0.1, -np.inf]))
    high = draw(st.sampled_from([0.3, 1.0, 50.0, np.inf]))
    return spaces.Box(low, high, draw(shapes()), draw(st.sampled_from([np.float16, np.float32, np.float64])))


@st.composite
def integer_boxes(draw: st.DrawFn) -> spaces.Box:
    dtype, shape = draw(st.sampled_from(INTEGERS)), draw(shapes())
    size = int(np.prod(shape))
    lows = np.array(draw(st.lists(st.integers(0, 5), min_size=size, max_size=size)), dtype)
    most = draw(st.sampled_from([9, 100])) if np.dtype(dtype).itemsize == 1 else draw(st.sampled_from([9, 30_000]))
    widths = np.array(draw(st.lists(st.integers(0, most), min_size=size, max_size=size)), dtype)
    if np.dtype(dtype).kind == "i":
        lows = lows - dtype(draw(st.integers(0, 100)))
    return spaces.Box(lows.reshape(shape), (lows + widths).reshape(shape), shape, dtype)


@st.composite
def multi_discrete(draw: st.DrawFn) -> spaces.MultiDiscrete:
    shape = draw(shapes(least=1))
    size = int(np.prod(shape))
    counts = draw(st.lists(st.integers(1, 5), min_size=size, max_size=size))
    starts = draw(st.lists(st.sampled_from([0, 1, -3]), min_size=size, max_size=size))
    dtype = draw(st.sampled_from([np.int64, np.int32]))
    return spaces.MultiDiscrete(np.reshape(counts, shape), dtype, start=np.reshape(starts, shape))


def discrete() -> st.SearchStrategy[spaces.Discrete]:
    return st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 6), st.integers(-9, 9))


def multi_binary() -> st.SearchStrategy[spaces.MultiBinary]:
    return st.builds(spaces.MultiBinary, st.integers(1, 4) | shapes(least=1).map(list))


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(["arm", "goal", "action", "env_action", "noise", "log_prob", "0", "a.b", "", "é"])
    dicts = st.dictionaries(keys, inner, min_size=1, max_size=3).map(spaces.Dict)
    return dicts | st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple)


FLAT = float_boxes() | integer_boxes() | multi_discrete() | multi_binary() | discrete()
ACTIONS: st.SearchStrategy[Any] = FLAT | st.recursive(nested(FLAT), nested, max_leaves=4)

DIGIT = spaces.Box(0, 9, (), np.uint8)
DEEP = spaces.Dict(
    {
        "arm": spaces.Tuple(
            [spaces.Box(-1, 1, (2,), np.float64), spaces.Dict({"a.b": spaces.Box(0, 9, (), np.uint8)})]
        ),
        "force": spaces.Box(0, 65535, (2,), np.uint16),
        "grip": spaces.MultiBinary([2, 2]),
        "mode": spaces.Discrete(3, start=-1),
        "wheels": spaces.MultiDiscrete([[2, 3], [5, 1]], start=[[0, 1], [-2, 7]]),
        "yaw": spaces.Box(-2, 2, (), np.float32),  # numbers behind choices
    }
)
