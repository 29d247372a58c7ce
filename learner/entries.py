"""The entries of a journal: what a learner did since its newest checkpoint, as records of a fixed size. Pure.

An entry says what became of one rollout and how far its actor's account had come by that. Replaying entries that a
checkpoint already contains changes nothing.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from protocol.ledger import Account, DropReason, Ledger
from protocol.messages import Tally

Kind = Literal[
    "accepted",  # a rollout is in the learner's memory
    "told",  # the actor's last count, with its BYE
    "published",  # `seq` is the policy's version
    DropReason,
]

# by their numbers in the file: only append
KINDS: tuple[Kind, ...] = (
    "accepted",
    "told",
    "published",
    "stop_partial",
    "stale",
    "invalid",
    "learner_crash",
    "actor_lost",
    "shutdown",
)
NOBODY = bytes(8)

_FIELDS = struct.Struct("<B8sQQQQB128s")  # kind, incarnation, seq, steps, sealed, dropped, length of the name, name
_CHECKSUM = struct.Struct("<I")
RECORD_BYTES = _FIELDS.size + _CHECKSUM.size


@dataclass(frozen=True)
class Entry:
    """One thing that the next learner must know if this one dies."""

    kind: Kind
    seq: int  # the account's watermark from here on
    steps: int = 0
    incarnation: bytes = NOBODY
    actor: str = ""
    sealed: int = 0  # of the account, as far as known
    dropped: int = 0  # by the actor itself, at stops

    @classmethod
    def of(cls, account: Account, incarnation: bytes, kind: Kind, steps: int) -> "Entry":
        """What was just booked in that account."""
        dropped = account.dropped["stop_partial"]
        return cls(kind, account.watermark, steps, incarnation, account.actor, account.sealed, dropped)

    def pack(self) -> bytes:
        """RECORD_BYTES bytes."""
        name = self.actor.encode()
        body = _FIELDS.pack(
            KINDS.index(self.kind),
            self.incarnation,
            self.seq,
            self.steps,
            self.sealed,
            self.dropped,
            len(name),
            name,
        )
        return body + _CHECKSUM.pack(zlib.crc32(body))


def unpack(content: bytes) -> Iterator[Entry]:
    """The entries in a file's content, up to the first that is torn or damaged."""
    for start in range(0, len(content) - RECORD_BYTES + 1, RECORD_BYTES):
        body = content[start : start + _FIELDS.size]
        (checksum,) = _CHECKSUM.unpack_from(content, start + _FIELDS.size)
        if zlib.crc32(body) != checksum:
            return
        kind, incarnation, seq, steps, sealed, dropped, length, name = _FIELDS.unpack(body)
        yield Entry(KINDS[kind], seq, steps, incarnation, name[:length].decode(), sealed, dropped)


@dataclass
class Replayed:
    """What entries added to a ledger."""

    rollouts: int = 0
    steps: int = 0
    version: int = 0  # the newest policy published


def replay(ledger: Ledger, entries: Iterable[Entry]) -> Replayed:
    """Book what a dead learner did after its newest checkpoint; what it had accepted is lost with it."""
    replayed = Replayed()
    reasons = get_args(DropReason)
    for entry in entries:
        if entry.kind == "published":
            replayed.version = max(replayed.version, entry.seq)
            continue
        if entry.incarnation in ledger.ended:
            continue  # folded into the checkpoint's total
        account = ledger.open(entry.incarnation, entry.actor)
        account.back()
        if entry.seq > account.watermark:
            account.watermark = entry.seq
            account.dropped[entry.kind if entry.kind in reasons else "learner_crash"] += entry.steps
            replayed.rollouts += 1
            replayed.steps += entry.steps
        account.observe(Tally(sealed_steps=entry.sealed, dropped_steps=entry.dropped))
    return replayed
