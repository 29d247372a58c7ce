"""Leaves of Gymnasium's action spaces. Knows Gymnasium, once it is called; knows no observations."""

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dppo.protocol.errors import UsageError
from dppo.protocol.leaf_paths import Path, leaf_name
from dppo.protocol.leaves import EnvDType, Leaf, leaf_spaces

if TYPE_CHECKING:  # a learner never needs Gymnasium, and it takes a while to import
    import gymnasium as gym

MOST_CHOICES = 1024  # values of one element of an integer Box that are choices; more are numbers, rounded
MAX_START = 2**32  # of choices
MAX_INTEGERS = 2**24  # beyond, float32 lacks some

_ENV_DTYPES: dict[int, EnvDType] = {2: "<f2", 4: "", 8: "<f8"}  # by the bytes of a float


def action_leaves(space: "gym.Space[Any]") -> tuple[Leaf, ...]:
    """The leaves of an action space, in its own order. Raises UsageError for what is not supported."""
    return tuple(_action_leaf(path, inner) for path, inner in leaf_spaces(space, "action"))


def _action_leaf(path: Path, space: "gym.Space[Any]") -> Leaf:
    import gymnasium as gym

    name, dtype = leaf_name("action", path), space.dtype
    if isinstance(space, gym.spaces.Box):
        if space.dtype.kind != "f":
            return _integer_box(name, space)
        low, high = _bounds(space.low, space.high)
        env_dtype = _ENV_DTYPES.get(space.dtype.itemsize, "<f8")
        return Leaf(name, "<f4", tuple(space.shape), "box", low=low, high=high, env_dtype=env_dtype)
    if isinstance(space, gym.spaces.Discrete):
        return Leaf(name, "<i8", (), "discrete", categories=int(space.n), start=int(space.start))
    if isinstance(space, gym.spaces.MultiDiscrete):
        return _choices(name, space, space.start, space.start + space.nvec - 1)
    if isinstance(space, gym.spaces.MultiBinary):
        return Leaf(name, "|b1", tuple(space.shape), "multi_binary", env_dtype=_env_dtype(dtype))
    raise UsageError(
        f"{name}: the space {type(space).__name__} is not supported: its actions have no fixed size; make a Box or "
        "MultiDiscrete of it in a wrapper that is derived from gymnasium.ActionWrapper and named in env.wrappers"
    )


def _integer_box(name: str, space: "gym.spaces.Box") -> Leaf:
    low, high = (list(map(int, side.ravel())) for side in (space.low, space.high))
    widest = max((most - least for least, most in zip(low, high, strict=True)), default=0)
    if widest < MOST_CHOICES and all(abs(bound) <= MAX_START for bound in (*low, *high)):
        return _choices(name, space, space.low, space.high)
    if any(abs(bound) > MAX_INTEGERS for bound in (*low, *high)):
        raise UsageError(
            f"{name}: Box actions of dtype {space.dtype} from {min(low)} to {max(high)} are not supported: set bounds "
            f"within +-{MAX_INTEGERS}, in the space or in a wrapper that is derived from gymnasium.ActionWrapper and "
            "named in env.wrappers"
        )
    lows, highs = _bounds(space.low, space.high)
    env_dtype = _env_dtype(space.dtype) or "<i8"
    return Leaf(name, "<f4", tuple(space.shape), "box", low=lows, high=highs, env_dtype=env_dtype)


def _choices(name: str, space: "gym.Space[Any]", low: np.ndarray, high: np.ndarray) -> Leaf:
    """The leaf of elements that are integers from low to high, of the space's shape."""
    lows, highs = (tuple(map(float, side.ravel().tolist())) for side in (low, high))
    if len({*lows}) == len({*highs}) == 1:
        lows, highs = lows[:1], highs[:1]
    shape, env_dtype = tuple(space.shape or ()), _env_dtype(space.dtype)
    return Leaf(name, "<i8", shape, "multi_discrete", low=lows, high=highs, env_dtype=env_dtype)


def _env_dtype(dtype: Any) -> EnvDType:
    """The dtype of what the environment is given, "" for int64."""
    text = np.dtype(dtype).newbyteorder("<").str
    known: EnvDType = msgspec.convert("" if text == "<i8" else text, EnvDType)
    return known


def _bounds(low: np.ndarray, high: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Bounds [n] as the graph's float32 can keep them: one for all where they are equal.

    Rounded inwards, so that what is clipped to them is within the space; where no float32 lies between them they are
    rounded to the nearest (the environments' side clips again, in the space's own dtype). Beyond float32 is no bound.
    """
    low, high = np.ravel(low).astype(np.float64), np.ravel(high).astype(np.float64)
    with np.errstate(over="ignore"):
        least, most = low.astype(np.float32), high.astype(np.float32)
        inner_low = np.where(least < low, np.nextafter(least, np.float32(np.inf)), least)
        inner_high = np.where(most > high, np.nextafter(most, np.float32(-np.inf)), most)
    most_of_all = np.finfo(np.float32).max
    empty = inner_low > inner_high
    lows = np.where(empty, least, np.where(least == -np.inf, least, inner_low)).clip(max=most_of_all)
    highs = np.where(empty, most, np.where(most == np.inf, most, inner_high)).clip(min=-most_of_all)
    if lows.size and (lows == lows[0]).all() and (highs == highs[0]).all():
        lows, highs = lows[:1], highs[:1]
    return tuple(lows.tolist()), tuple(highs.tolist())
