"""Rollouts as bytes of a checkpoint, and back, to the bit. Knows layouts of rollouts; knows no files."""

from collections.abc import Sequence

import msgspec

from dppo.learner.ppo.batch import Received
from dppo.protocol.errors import ProtocolError
from dppo.protocol.rollout import Counts, blob_bytes, pack, unpack
from dppo.protocol.specs import Spec

MOST_BYTES = 64 * 2**20  # of one kind that a checkpoint takes: it is written often, and training waits for it


class _Packed(msgspec.Struct, array_like=True):
    """A `Received` as it is or as it was stitched, but for states with which it goes on under other policies."""

    actor: str
    incarnation: bytes
    seq: int
    first_slot: int
    term: int
    version: int
    life: int
    counts: Counts
    blob: bytes
    parts: tuple[tuple[int, int], ...] = ()


class _Groups(msgspec.Struct, array_like=True):
    spec: Spec  # of these rollouts: the run that goes on may have other metrics, or be refused for another network
    groups: list[list[_Packed]]


def pack_groups(spec: Spec, groups: Sequence[Sequence[Received]]) -> bytes:
    """Return groups of rollouts as bytes; b"" where there is nothing in them, or more than a checkpoint takes.

    spec: of the rollouts, with the state of a memory and frames before. Raises ValueError where they hold others.
    """
    size = sum(blob_bytes(spec, received.segment.counts) for group in groups for received in group)
    if not 0 < size <= MOST_BYTES:  # before anything is copied: training waits
        return b""
    return msgspec.msgpack.encode(_Groups(spec, [[_packed(spec, received) for received in group] for group in groups]))


def unpack_groups(content: bytes) -> list[list[tuple[Received, int]]]:
    """Return what `pack_groups` made, each rollout with its bytes; [] for b"".

    Raises ProtocolError where it did not make it.
    """
    if not content:
        return []
    try:
        packed = msgspec.msgpack.decode(content, type=_Groups)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"rollouts of a checkpoint cannot be read: {error}") from error
    return [[(_unpacked(packed.spec, one), len(one.blob)) for one in group] for group in packed.groups]


def _packed(spec: Spec, of: Received) -> _Packed:
    if of.segment.states.keys() != {leaf.name for leaf in spec.state}:  # `pack` takes what the spec names
        raise ValueError(f"a rollout with {[*of.segment.states]}, packed by a spec with {spec.state}")
    return _Packed(
        of.actor,
        of.incarnation,
        of.seq,
        of.first_slot,
        of.term,
        of.version,
        of.life,
        of.segment.counts,
        bytes(pack(spec, of.segment)),
        of.parts,
    )


def _unpacked(spec: Spec, of: _Packed) -> Received:
    segment = unpack(spec, of.counts, of.blob)
    return Received(
        of.actor, of.incarnation, of.seq, of.first_slot, segment, of.term, of.version, life=of.life, parts=of.parts
    )
