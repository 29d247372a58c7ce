"""Batches in hand, as a checkpoint keeps them: what actors made while the learner trained does not die with it.

Under collect.max_staleness only: else a batch is empty whenever a checkpoint is written.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from dppo.learner.ppo.batch import Received
from dppo.protocol.errors import ProtocolError
from dppo.protocol.rollout import Counts, blob_bytes, pack, unpack
from dppo.protocol.specs import Spec

MOST_BYTES = 64 * 2**20  # that a checkpoint takes of them: it is written often, and training waits for it


class _Rollout(msgspec.Struct, array_like=True):
    """A `Received` in a checkpoint."""

    actor: str
    incarnation: bytes
    seq: int
    first_slot: int
    term: int
    version: int
    life: int
    counts: Counts
    blob: bytes


@dataclass(frozen=True)
class KeptBatches:
    """Rollouts with their bytes, in the batches that they were accepted for: the front one is trained on next."""

    version: int = 0  # of the checkpoint's policy
    batches: tuple[tuple[tuple[Received, int], ...], ...] = ()

    @property
    def waiting(self) -> dict[bytes, Counter[int]]:
        """Steps by incarnation and number of the batch, from 1 on."""
        steps: dict[bytes, Counter[int]] = {}
        for number, batch in enumerate(self.batches, 1):
            for received, _ in batch:
                steps.setdefault(received.incarnation, Counter())[number] += received.segment.steps
        return steps


def pack_batches(spec: Spec, batches: Sequence[Sequence[Received]]) -> bytes:
    """Return the batches as bytes; b"" where there is nothing in them, or more than a checkpoint takes."""
    size = sum(blob_bytes(spec, received.segment.counts) for batch in batches for received in batch)
    if not 0 < size <= MOST_BYTES:  # before anything is copied: training waits
        return b""
    return msgspec.msgpack.encode([[_packed(spec, received) for received in batch] for batch in batches])


def _packed(spec: Spec, of: Received) -> _Rollout:
    blob = bytes(pack(spec, of.segment))
    return _Rollout(
        of.actor, of.incarnation, of.seq, of.first_slot, of.term, of.version, of.life, of.segment.counts, blob
    )


def unpack_batches(spec: Spec, content: bytes, version: int) -> KeptBatches:
    """Return what `pack_batches` made for that spec. Raises ProtocolError where it did not.

    version: of the policy that the next update is on top of, as when they were packed.
    """
    if not content:
        return KeptBatches(version)
    try:
        packed = msgspec.msgpack.decode(content, type=list[list[_Rollout]])
    except msgspec.DecodeError as error:
        raise ProtocolError(f"the batches in hand cannot be read: {error}") from error
    return KeptBatches(version, tuple(tuple(_unpacked(spec, rollout) for rollout in batch) for batch in packed))


def _unpacked(spec: Spec, of: _Rollout) -> tuple[Received, int]:
    segment = unpack(spec, of.counts, of.blob)
    received = Received(
        of.actor, of.incarnation, of.seq, of.first_slot, segment, term=of.term, version=of.version, life=of.life
    )
    return received, len(of.blob)
