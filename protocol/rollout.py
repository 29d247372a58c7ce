"""A rollout's arrays as one blob, and back. Knows layouts; knows no messages and no sockets.

Time runs down (T rows), environments across (E columns). The layout follows from the negotiated spec and four counts,
so the blob carries no header of its own and its length must match exactly.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dppo.protocol.errors import ProtocolError
from dppo.protocol.specs import Leaf, Spec

MAX_STEPS = 2**24  # T * E of one rollout
MAX_EPISODES = 2**20  # that one rollout reports
MAX_TOLD_LATER = 64  # of these, episodes that ended in segments that were thrown away

Leaves = dict[str, np.ndarray]  # by leaf name
Blob = bytes | bytearray | memoryview
_Field = tuple[str, str, str, tuple[int, ...]]  # field of Segment, leaf name or "", dtype, shape


def empty_rows(spec: Spec, rows: int) -> Leaves:
    """Arrays [rows, ...] for observations, not filled."""
    return {leaf.name: np.empty((rows, *leaf.shape), leaf.dtype) for leaf in spec.observation}


def _no_metrics() -> np.ndarray:
    return np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class Counts:
    """Sizes of a blob besides the spec's. T segment length, E environments of the actor."""

    T: int
    E: int
    finals: int  # rows in `final_observations`: one per truncated step
    episodes: int  # episodes that ended since the last rollout


@dataclass(frozen=True)
class Segment:
    """T consecutive steps of E environments under one policy version.

    A row is a transition from `observations[t]` to `observations[t + 1]`, except where an episode ended: then the next
    row is a new episode's first observation (or, where `valid[t]` is false, the row in which a NEXT_STEP vector
    environment reset itself, which is no transition at all).
    """

    observations: Leaves  # [T + 1, E, ...]; the last row is for the bootstrap value
    actions: Leaves  # [T, E, ...] as sampled
    masks: Leaves  # [T, E, ...]
    states: Leaves  # [E, ...] at t = 0
    behaviour_log_probs: np.ndarray  # [T, E] float32, of `actions`, joint over all dimensions
    rewards: np.ndarray  # [T, E] float32
    terminated: np.ndarray  # [T, E] bool; the episode ended in a terminal state: no bootstrap
    truncated: np.ndarray  # [T, E] bool, never where terminated; ended by a limit: bootstrap from its final observation
    valid: np.ndarray  # [T, E] bool; false where the row is a reset, not a step
    final_observations: Leaves  # [finals, ...]; for each truncated (t, e) in row-major order
    episode_returns: np.ndarray  # [episodes] float32, undiscounted, as the environment paid
    episode_lengths: np.ndarray  # [episodes] int32, in steps
    episode_columns: np.ndarray  # [episodes] int32, which of the E environments
    episode_successes: np.ndarray  # [episodes] float32: 1 or 0, NaN where the environment does not say
    episode_metrics: np.ndarray = field(default_factory=_no_metrics)  # [episodes, metrics] float32 as the spec orders

    @property
    def ends_episode(self) -> bool:
        """Whether an episode ended in it."""
        return bool(self.terminated.any() or self.truncated.any())

    @property
    def counts(self) -> Counts:
        """The sizes that go into the ROLLOUT header."""
        T, E = self.rewards.shape
        return Counts(T, E, int(self.truncated.sum()), len(self.episode_returns))

    @property
    def steps(self) -> int:
        """Environment steps in it: resets are not steps."""
        return int(self.valid.sum())


def most_rows(segment_steps: int) -> int:
    """Rows of a segment at most. Where every episode has one step, every second row is a reset."""
    return max(0, 2 * segment_steps - 1)


def most_steps(segment_steps: int, envs: int) -> int:
    """Steps of a segment at most: its last row may be more than was missing."""
    return min(segment_steps + 1, most_rows(segment_steps)) * envs


def blob_bytes(spec: Spec, counts: Counts) -> int:
    """Exact length of the blob of such a rollout."""
    return _total(_fields(spec, counts))


def _total(fields: list[_Field]) -> int:
    return sum(_bytes(dtype, shape) for _, _, dtype, shape in fields)


def pack(spec: Spec, segment: Segment) -> bytearray:
    """The segment's arrays, one after the other without gaps, those of the largest numbers first."""
    layout = _fields(spec, segment.counts)
    blob = bytearray(_total(layout))
    offset = 0
    for group, name, dtype, shape in layout:
        source = getattr(segment, group)[name] if name else getattr(segment, group)
        target = np.frombuffer(blob, dtype, count=_size(shape), offset=offset).reshape(shape)
        np.copyto(target, source)
        offset += _bytes(dtype, shape)
    return blob


def unpack(spec: Spec, counts: Counts, blob: Blob) -> Segment:
    """Views into the blob. Raises ProtocolError where the length does not match the counts or the flags disagree."""
    check_counts(counts)
    layout = _fields(spec, counts)
    expected = _total(layout)
    if len(blob) != expected:
        raise ProtocolError(f"a rollout of {counts} has {expected} bytes, not {len(blob)}")
    fields: dict[str, Any] = {"observations": {}, "actions": {}, "masks": {}, "states": {}, "final_observations": {}}
    fields["episode_metrics"] = np.empty((counts.episodes, 0), np.float32)
    offset = 0
    for group, name, dtype, shape in layout:
        array = np.frombuffer(blob, dtype, count=_size(shape), offset=offset).reshape(shape)
        if name:
            fields[group][name] = array
        else:
            fields[group] = array
        offset += _bytes(dtype, shape)
    for flag in ("terminated", "truncated", "valid"):
        if fields[flag].view(np.uint8).max(initial=0) > 1:
            raise ProtocolError(f"{flag} holds something else than 0 and 1")
    segment = Segment(**fields)
    if segment.counts != counts:
        raise ProtocolError(f"the header says {counts.finals} truncated steps, the blob holds {segment.counts.finals}")
    return segment


def check_counts(counts: Counts) -> None:
    """Refuse sizes that cannot be honest before they are multiplied."""
    T, E = counts.T, counts.E
    if not (0 < T <= MAX_STEPS and 0 < E <= MAX_STEPS and T * E <= MAX_STEPS):
        raise ProtocolError(f"a rollout of {T} x {E} steps is not allowed")
    if not (0 <= counts.finals <= T * E and 0 <= counts.episodes <= MAX_EPISODES):
        raise ProtocolError(f"{counts.finals} final observations and {counts.episodes} episodes are not allowed")


def _fields(spec: Spec, counts: Counts) -> list[_Field]:
    """All arrays in wire order: by falling size of their numbers, so that each is aligned to its own without padding.

    Padding would make the exact length a weaker check: a wrong T could hide in it.
    """
    return sorted(_named(spec, counts), key=lambda field: -_itemsize(field[2]))


def _named(spec: Spec, counts: Counts) -> Iterator[_Field]:
    """All arrays in the order of the record."""

    def leaves(group: str, group_leaves: tuple[Leaf, ...], *lead: int) -> Iterator[_Field]:
        for leaf in group_leaves:
            yield group, leaf.name, leaf.dtype, (*lead, *leaf.shape)

    T, E, finals, episodes = counts.T, counts.E, counts.finals, counts.episodes
    yield from leaves("observations", spec.observation, T + 1, E)
    yield from leaves("actions", spec.action, T, E)
    yield from leaves("masks", spec.mask, T, E)
    yield from leaves("states", spec.state, E)
    yield "behaviour_log_probs", "", "<f4", (T, E)
    yield "rewards", "", "<f4", (T, E)
    yield "terminated", "", "|b1", (T, E)
    yield "truncated", "", "|b1", (T, E)
    yield "valid", "", "|b1", (T, E)
    yield from leaves("final_observations", spec.observation, finals)
    yield "episode_returns", "", "<f4", (episodes,)
    yield "episode_lengths", "", "<i4", (episodes,)
    yield "episode_columns", "", "<i4", (episodes,)
    yield "episode_successes", "", "<f4", (episodes,)
    if spec.metrics:  # else `unpack` makes it
        yield "episode_metrics", "", "<f4", (episodes, len(spec.metrics))


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:  # Python integers: numpy's prod wraps around at 2**63
        size *= n
    return size


def _bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return _size(shape) * _itemsize(dtype)


@functools.cache
def _itemsize(dtype: str) -> int:
    return np.dtype(dtype).itemsize
