"""The shapes both sides agree on: named leaves made from Gymnasium spaces, and their digest.

A spec is data, never code: it crosses the wire inside HELLO, is checked here, and from then on no dtype and no
shape is taken from any message. Today an observation or an action has one leaf; Dict spaces, masks and recurrent
state are more leaves in the same record, so they need no new wire format.
"""

import hashlib
import math
import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from protocol.errors import ProtocolError, UsageError

if TYPE_CHECKING:  # a learner never needs Gymnasium, and it takes a while to import
    import gymnasium as gym

MAX_LEAVES = 64
MAX_DIMENSIONS = 8
MAX_SPEC_BYTES = 3400  # what a HELLO of 4 KiB leaves: about 180 bounded actions
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # of a leaf; "" would mean no leaf in a rollout's layout
MAX_ELEMENTS = 2**26  # of one leaf of one step: 256 MiB of float32, far above any image

DType = Literal["|u1", "|i1", "|b1", "<i2", "<i4", "<i8", "<f4", "<f8"]


class Leaf(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One array of one step: what is in it and how it looks on the wire."""

    name: str
    dtype: DType  # as shipped; float64 observations are shipped as float32
    shape: tuple[int, ...]  # of one step of one environment, () for a scalar
    kind: Literal["box", "discrete"]
    low: tuple[float, ...] = ()  # box actions: one bound per element, row-major; () if unbounded or not needed
    high: tuple[float, ...] = ()
    categories: int = 0  # discrete: how many values
    start: int = 0  # discrete: the smallest value

    @property
    def elements(self) -> int:
        """Numbers in one step of this leaf."""
        return math.prod(self.shape)

    @property
    def bytes_per_step(self) -> int:
        """Bytes of one step of one environment."""
        return self.elements * np.dtype(self.dtype).itemsize


class Spec(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything that a rollout carries per step, besides rewards and flags."""

    observation: tuple[Leaf, ...]
    action: tuple[Leaf, ...]  # as sampled (before clipping to the environment's bounds)
    mask: tuple[Leaf, ...] = ()  # which actions were allowed, one row per step
    state: tuple[Leaf, ...] = ()  # recurrent state at the start of a segment, one row per segment

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """All leaves of all four groups."""
        return self.observation + self.action + self.mask + self.state


def spec_hash(spec: Spec) -> bytes:
    """16 bytes that are equal exactly when the specs are."""
    return hashlib.blake2b(msgspec.msgpack.encode(spec), digest_size=16).digest()


def check_spec(spec: Spec) -> Spec:
    """Refuse a spec that no honest peer sends: too many leaves, huge or negative sizes, repeated names."""
    if not spec.observation or not spec.action:
        raise ProtocolError("the spec names no observation or no action")
    if len(spec.leaves) > MAX_LEAVES:
        raise ProtocolError(f"the spec has {len(spec.leaves)} leaves; at most {MAX_LEAVES} are allowed")
    names = [leaf.name for leaf in spec.leaves]
    if len(set(names)) != len(names):
        raise ProtocolError("the spec repeats a leaf name")
    for leaf in spec.leaves:
        if not NAME.fullmatch(leaf.name):
            raise ProtocolError(f"leaf name {leaf.name[:64]!r} is not allowed")
        if len(leaf.shape) > MAX_DIMENSIONS or any(size <= 0 for size in leaf.shape) or leaf.elements > MAX_ELEMENTS:
            raise ProtocolError(f"leaf {leaf.name}: shape {leaf.shape} is not allowed")
        if len(leaf.low) not in (0, leaf.elements) or len(leaf.high) != len(leaf.low):
            raise ProtocolError(f"leaf {leaf.name}: {len(leaf.low)} bounds for {leaf.elements} elements")
        if not all(low <= high for low, high in zip(leaf.low, leaf.high, strict=True)):  # NaN is neither
            raise ProtocolError(f"leaf {leaf.name}: a lower bound is not below its upper bound")
        if leaf.kind == "discrete" and not (0 < leaf.categories <= 2**20 and abs(leaf.start) <= 2**31):
            raise ProtocolError(f"leaf {leaf.name}: {leaf.categories} categories from {leaf.start} are not allowed")
        if leaf.kind == "discrete" and leaf.dtype != "<i8":  # index arithmetic in it cannot wrap around
            raise ProtocolError(f"leaf {leaf.name}: categories as {leaf.dtype} are not allowed")
    return spec


def spec_of(observation_space: "gym.Space[Any]", action_space: "gym.Space[Any]") -> Spec:
    """The spec of one environment's spaces.

    Raises UsageError for spaces that cannot be trained on yet, saying which and what to do.
    """
    spec = Spec(observation=(_observation_leaf(observation_space),), action=(_action_leaf(action_space),))
    try:
        check_spec(spec)
    except ProtocolError as error:
        raise UsageError(f"these spaces are not supported: {error}") from None
    if (size := len(msgspec.msgpack.encode(spec))) > MAX_SPEC_BYTES:
        raise UsageError(
            f"an action space of {spec.action[0].elements} numbers is not supported: with its bounds it takes "
            f"{size} bytes, and a message may carry {MAX_SPEC_BYTES}"
        )
    return spec


def _observation_leaf(space: "gym.Space[Any]") -> Leaf:
    import gymnasium as gym

    if isinstance(space, gym.spaces.Box):
        # float64 observations (MuJoCo) carry no information that a float32 network could use
        dtype = np.dtype(np.float32) if space.dtype.kind == "f" else space.dtype
        return Leaf(name="observation", dtype=_wire_dtype(dtype), shape=tuple(space.shape), kind="box")
    if isinstance(space, gym.spaces.Discrete):
        return Leaf("observation", "<i8", (), "discrete", categories=int(space.n), start=int(space.start))
    raise UsageError(
        f"observation space {type(space).__name__} is not supported: use Box or Discrete, "
        "or flatten it with gymnasium.wrappers.FlattenObservation"
    )


def _action_leaf(space: "gym.Space[Any]") -> Leaf:
    import gymnasium as gym

    if isinstance(space, gym.spaces.Box):
        if space.dtype.kind != "f":
            raise UsageError(f"Box actions of dtype {space.dtype} are not supported: use a float Box or Discrete")
        low, high = (tuple(float(x) for x in np.ravel(bound)) for bound in (space.low, space.high))
        return Leaf("action", "<f4", tuple(space.shape), "box", low=low, high=high)
    if isinstance(space, gym.spaces.Discrete):
        return Leaf("action", "<i8", (), "discrete", categories=int(space.n), start=int(space.start))
    raise UsageError(f"action space {type(space).__name__} is not supported: use Box or Discrete")


def _wire_dtype(dtype: np.dtype) -> DType:
    try:
        known: DType = msgspec.convert(dtype.newbyteorder("<").str, DType)
    except msgspec.ValidationError:
        raise UsageError(f"observations of dtype {dtype} cannot be shipped: use a number or bool array") from None
    return known
