"""The shapes both sides agree on: named leaves made from Gymnasium spaces, and their digest.

A spec is data, never code: it crosses the wire inside HELLO, is checked here, and from then on no dtype and no
shape is taken from any message. Observations and actions have a leaf for every space within their Dicts and Tuples.
Masks and recurrent state are more leaves in the same record, so they need no new wire format.
"""

import hashlib
import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from dppo.protocol.action_masks import MASK, mask_leaf
from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.leaf_paths import Path, leaf_name
from dppo.protocol.leaves import DType, Leaf, leaf_spaces
from dppo.protocol.metric_names import check_metrics

__all__ = [
    "DType",
    "Leaf",
    "Spec",
    "check_spec",
    "masked_spec",
    "spec_from_json",
    "spec_hash",
    "spec_of",
    "spec_to_json",
    "wire_dtype",
]

if TYPE_CHECKING:  # a learner never needs Gymnasium, the command of a run no NumPy before its processes have started
    import gymnasium as gym
    import numpy as np

MAX_LEAVES = 64
MAX_DIMENSIONS = 8
MAX_SPEC_BYTES = 3400  # what a HELLO of 4 KiB leaves: about 180 actions whose bounds differ
NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")  # of a leaf; "" would mean no leaf in a rollout's layout
MAX_ELEMENTS = 2**26  # of one leaf of one step: 256 MiB of float32, far above any image
MAX_CATEGORIES = 2**20  # of one leaf, those of all its elements


class Spec(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All that a rollout carries per step and episode, besides rewards, flags, returns and lengths."""

    observation: tuple[Leaf, ...]
    action: tuple[Leaf, ...]  # as sampled (before clipping to the environment's bounds)
    mask: tuple[Leaf, ...] = ()  # which actions were allowed, one row per step
    state: tuple[Leaf, ...] = ()  # recurrent state at the start of a segment, one row per segment
    metrics: tuple[str, ...] = ()  # numbers of the environment's own, one each per episode

    @property
    def given(self) -> tuple[Leaf, ...]:
        """Leaves of observations and masks: what there is to act on."""
        return self.observation + self.mask

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """All leaves of all four groups."""
        return self.observation + self.action + self.mask + self.state


def spec_hash(spec: Spec) -> bytes:
    """16 bytes that are equal exactly when the specs are."""
    return hashlib.blake2b(msgspec.msgpack.encode(spec), digest_size=16).digest()


def spec_to_json(spec: Spec) -> str:
    """Return the spec as JSON, in which a bound of null is none: JSON has no infinity."""
    return msgspec.json.encode(spec).decode()


def spec_from_json(text: str) -> Spec:
    """Return the checked spec of such a text. Raises ProtocolError for whatever it is not."""
    try:
        groups = msgspec.json.decode(text, type=list[list[Any]])
        low, high = (Leaf.__struct_fields__.index(name) for name in ("low", "high"))
        for leaf in (leaf for group in groups for leaf in group if isinstance(leaf, list)):  # else a metric's name
            for place, missing in ((low, -math.inf), (high, math.inf)):
                leaf[place : place + 1] = [[missing if bound is None else bound for bound in leaf[place]]]
        return check_spec(msgspec.convert(groups, Spec))
    except (msgspec.DecodeError, IndexError, TypeError) as error:
        raise ProtocolError(f"this is no spec: {error}") from None


def check_spec(spec: Spec) -> Spec:
    """Refuse a spec that no honest peer sends: too many leaves, huge or negative sizes, repeated names."""
    if not spec.observation or not spec.action:
        raise ProtocolError("the spec names no observation or no action")
    if len(spec.leaves) > MAX_LEAVES:
        raise ProtocolError(f"the spec has {len(spec.leaves)} leaves; at most {MAX_LEAVES} are allowed")
    check_metrics(spec.metrics)
    names = [leaf.name for leaf in spec.leaves]
    if len(set(names)) != len(names):
        raise ProtocolError("the spec repeats a leaf name")
    for leaf in spec.leaves:
        if not NAME.fullmatch(leaf.name):
            raise ProtocolError(f"leaf name {leaf.name[:64]!r} is not allowed")
        if 0 in leaf.shape:
            raise ProtocolError(f"leaf {leaf.name}: there is nothing in an array of shape {leaf.shape}")
        if len(leaf.shape) > MAX_DIMENSIONS or any(size <= 0 for size in leaf.shape) or leaf.elements > MAX_ELEMENTS:
            raise ProtocolError(f"leaf {leaf.name}: shape {leaf.shape} is not allowed")
        if len(leaf.low) not in (0, 1, leaf.elements) or len(leaf.high) != len(leaf.low):
            raise ProtocolError(f"leaf {leaf.name}: {len(leaf.low)} bounds for {leaf.elements} elements")
        if not all(low <= high for low, high in zip(leaf.low, leaf.high, strict=True)):  # NaN is neither
            raise ProtocolError(f"leaf {leaf.name}: a lower bound is not below its upper bound")
        if leaf.kind == "discrete" and not (0 < leaf.categories <= MAX_CATEGORIES and abs(leaf.start) <= 2**31):
            raise ProtocolError(f"leaf {leaf.name}: {leaf.categories} categories from {leaf.start} are not allowed")
        if "discrete" in leaf.kind and leaf.dtype != "<i8":  # index arithmetic in it cannot wrap around
            raise ProtocolError(f"leaf {leaf.name}: categories as {leaf.dtype} are not allowed")
        if leaf.kind == "multi_discrete":
            _check_many_categories(leaf)
        if leaf.kind == "multi_binary" and leaf.dtype != "|b1":
            raise ProtocolError(f"leaf {leaf.name}: flags as {leaf.dtype} are not allowed")
    return spec


def _check_many_categories(leaf: Leaf) -> None:
    if not leaf.low or not all(value.is_integer() and abs(value) <= 2**32 for value in (*leaf.low, *leaf.high)):
        raise ProtocolError(f"leaf {leaf.name}: its smallest and largest values are no integers, or too large")
    if leaf.features > MAX_CATEGORIES:
        raise ProtocolError(f"leaf {leaf.name}: {leaf.features} categories, at most {MAX_CATEGORIES} are allowed")


def spec_of(observation_space: "gym.Space[Any]", action_space: "gym.Space[Any]") -> Spec:
    """The spec of one environment's spaces.

    Raises UsageError for spaces that cannot be trained on yet, saying which and what to do.
    """
    from dppo.protocol.action_leaves import action_leaves

    observation = tuple(_observation_leaf(path, space) for path, space in leaf_spaces(observation_space, "observation"))
    spec = Spec(observation, action_leaves(action_space))
    try:
        check_spec(spec)
    except ProtocolError as error:
        raise UsageError(
            f"these spaces are not supported: {error}. Change that in the environment, or in a wrapper that is "
            "named in env.wrappers"
        ) from None
    if (size := len(msgspec.msgpack.encode(spec))) > MAX_SPEC_BYTES:
        largest = max(spec.leaves, key=lambda leaf: len(msgspec.msgpack.encode(leaf)))
        others = f" and {len(spec.leaves) - 1} more leaves" if len(spec.leaves) > 2 else ""
        raise UsageError(
            f"these spaces are not supported: {largest.name} of {largest.elements} numbers{others} take {size} bytes "
            f"with names and bounds, and a message may carry {MAX_SPEC_BYTES}"
        )
    return spec


def masked_spec(spec: Spec, leaf: str = "") -> Spec:
    """Return the spec with masks of its actions. leaf: of observations, which is the mask and no observation then."""
    observation = tuple(other for other in spec.observation if other.name != leaf)
    return msgspec.structs.replace(spec, observation=observation, mask=(mask_leaf(spec.action, leaf or MASK),))


def _observation_leaf(path: Path, space: "gym.Space[Any]") -> Leaf:
    import gymnasium as gym

    name = leaf_name("observation", path)
    if isinstance(space, gym.spaces.Box):
        return Leaf(name, wire_dtype(space.dtype, name), tuple(space.shape), "box")
    if isinstance(space, gym.spaces.Discrete):
        return Leaf(name, "<i8", (), "discrete", categories=int(space.n), start=int(space.start))
    if isinstance(space, gym.spaces.MultiDiscrete):
        low, high = ([*map(float, side.ravel())] for side in (space.start, space.start + space.nvec - 1))
        if len({*low}) == len({*high}) == 1:
            low, high = low[:1], high[:1]
        return Leaf(name, "<i8", tuple(space.shape), "multi_discrete", low=tuple(low), high=tuple(high))
    if isinstance(space, gym.spaces.MultiBinary):
        return Leaf(name, "|b1", tuple(space.shape), "multi_binary")
    if isinstance(space, gym.spaces.Sequence | gym.spaces.Graph):
        advice = "has no fixed size: pad it to a Box"
    else:
        advice = "holds no numbers of fixed places: make a Box of it"
    left_out = "; gymnasium.wrappers.FilterObservation leaves it out" if path else ""
    raise UsageError(
        f"{name}: the space {type(space).__name__} is not supported: it {advice} in a wrapper that is derived from "
        f"gymnasium.ObservationWrapper and named in env.wrappers{left_out}"
    )


def wire_dtype(dtype: "np.dtype[Any]", name: str = "observation") -> DType:
    """The dtype that carries these observations: floats as float32 (what a network computes in), the others exactly.

    Raises UsageError for what no dtype of the wire can carry. name: of the leaf.
    """
    if dtype.kind == "f":
        return "<f4"
    if (dtype.kind, dtype.itemsize) == ("u", 2):
        return "<i4"
    if (dtype.kind, dtype.itemsize) == ("u", 4):
        return "<i8"
    try:
        known: DType = msgspec.convert(dtype.newbyteorder("<").str, DType)
    except msgspec.ValidationError:
        raise UsageError(
            f"{name}: observations of dtype {dtype} are not supported: use bool, int8 to int64, uint8 to uint32, or a "
            "float of any width (carried as float32), for example in gymnasium.wrappers.DtypeObservation"
        ) from None
    return known
