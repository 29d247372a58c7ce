"""A leaf: one array of one step, with its name, its looks on the wire and its values."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dppo.protocol.errors import UsageError
from dppo.protocol.leaf_paths import Path, leaf_name

if TYPE_CHECKING:  # a learner never needs Gymnasium, and it takes a while to import
    import gymnasium as gym

EnvDType = Literal["", "<f2", "<f8", "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"]
DType = Literal["|u1", "|i1", "|b1", "<i2", "<i4", "<i8", "<f4", "<f8"]


class Leaf(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One array of one step: what is in it and how it looks on the wire."""

    name: str
    dtype: DType  # as shipped; float64 observations are shipped as float32
    shape: tuple[int, ...]  # of one step of one environment, () for a scalar
    kind: Literal["box", "discrete", "multi_discrete", "multi_binary"]
    # box actions: one bound per element, row-major, or one for all; (): not needed. multi_discrete: the smallest value
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()  # as many; exact in float32, where the space's bounds are not the next ones inside
    categories: int = 0  # discrete: how many values
    start: int = 0  # discrete: the smallest value
    env_dtype: EnvDType = ""  # actions: of what the environment is given, where that is not dtype

    @property
    def elements(self) -> int:
        """Numbers in one step of this leaf."""
        return math.prod(self.shape)

    @property
    def features(self) -> int:
        """Numbers that an encoder without parameters makes of one step: choices are one-hot."""
        if self.kind == "multi_discrete":
            return int(sum(self.last_values) - sum(self.first_values)) + self.elements
        return self.categories if self.kind == "discrete" else self.elements

    @property
    def first_values(self) -> tuple[int, ...]:
        """multi_discrete: the smallest value of each element, row-major."""
        return tuple(map(int, self.low)) * (self.elements if len(self.low) == 1 else 1)

    @property
    def last_values(self) -> tuple[int, ...]:
        """multi_discrete: the largest value of each element, row-major."""
        return tuple(map(int, self.high)) * (self.elements if len(self.high) == 1 else 1)

    @property
    def choices(self) -> tuple[int, ...]:
        """Values that each element can have, row-major; () of a box."""
        if self.kind == "multi_discrete":
            pairs = zip(self.first_values, self.last_values, strict=True)
            return tuple(last - first + 1 for first, last in pairs)
        return {"discrete": (self.categories,), "multi_binary": (2,) * self.elements}.get(self.kind, ())

    @property
    def starts(self) -> tuple[int, ...]:
        """The smallest of these values, of each element."""
        if self.kind == "multi_discrete":
            return self.first_values
        return {"discrete": (self.start,), "multi_binary": (0,) * self.elements}.get(self.kind, ())


def leaf_spaces(space: "gym.Space[Any]", group: str, path: Path = ()) -> Iterator[tuple[Path, "gym.Space[Any]"]]:
    """The spaces within Dicts and Tuples and their places, in the order of the spec's leaves. Raises UsageError."""
    import gymnasium as gym

    where = leaf_name(group, path)
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple) and not space.spaces:
        raise UsageError(f"{where}: the space {space} is not supported: there is nothing in it")
    if isinstance(space, gym.spaces.Dict):
        for key, inner in space.spaces.items():
            if not isinstance(key, str):
                raise UsageError(
                    f"{where}: the key {key!r} of its Dict is not supported: keys must be texts, such as {str(key)!r}"
                )
            yield from leaf_spaces(inner, group, (*path, key))
    elif isinstance(space, gym.spaces.Tuple):
        for place, inner in enumerate(space.spaces):
            yield from leaf_spaces(inner, group, (*path, place))
    elif not isinstance(space, gym.Space):
        raise UsageError(
            f"{where}: {' '.join(repr(space).split())[:60]} is no Gymnasium space: set {group}_space in __init__ to "
            "one, such as a Box"
        )
    else:
        yield path, space
