"""The entries of a journal: what a learner did since its newest checkpoint, as records of a fixed size. Pure.

An entry says what became of one rollout and how far its actor's account had come by that. A record is an entry with its
number in the run's journal, the sum of the steps up to it, and a checksum: what is damaged or gone is found, and how
much it was. Replaying entries that a checkpoint already contains changes nothing.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from dppo.protocol.account import Account, DropReason
from dppo.protocol.errors import UsageError

Kind = Literal[
    "accepted",  # a rollout is in the learner's memory
    "told",  # the actor's last count, with its BYE
    "published",  # `seq` is the policy's version
    "granted",  # a policy under which the actor may hold more than before, or one that was written off is back
    "noticed",  # what is missing of the records before number `seq` has been reported
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
    "granted",
    "noticed",
    "unfinished",
)
NO_INCARNATION = bytes(8)
MARK = b"\xd9J2"  # what a record begins with; how the next one is found behind damage

# mark, number, steps up to it, kind, incarnation, seq, steps, sealed, dropped, disposed, may hold, length and name
_FIELDS = struct.Struct("<3sQQB8sQQQQQQB128s")
_CHECKSUM = struct.Struct("<I")
RECORD_BYTES = _FIELDS.size + _CHECKSUM.size
_OLD_FIELDS_BYTES = 170  # of the first format, which had neither number nor mark
_MOST = 2**64 - 1


@dataclass(frozen=True)
class Entry:
    """One thing that the next learner must know if this one dies."""

    kind: Kind
    seq: int  # the account's watermark from here on
    steps: int = 0
    incarnation: bytes = NO_INCARNATION
    actor: str = ""
    sealed: int = 0  # of the account, as far as known
    dropped: int = 0  # by the actor itself, at stops
    disposed: int = 0  # steps of the account that arrived or were lost with a learner, these included
    may_hold: int = 0  # most steps that its actor may have sealed and not delivered

    @classmethod
    def of(cls, account: Account, incarnation: bytes, kind: Kind, steps: int) -> "Entry":
        """Make the entry of what was just booked in that account."""
        return cls(
            kind,
            account.watermark,
            steps,
            incarnation,
            account.actor,
            account.sealed,
            account.dropped["stop_partial"],
            account.disposed,
            account.may_hold,
        )

    def pack(self, number: int = 0, steps_upto: int = 0) -> bytes:
        """RECORD_BYTES bytes. number: in the run's journal, from 0; steps_upto: of all records up to this one."""
        name, kind = self.actor.encode(), KINDS.index(self.kind)
        counts = self.seq, self.steps, self.sealed, self.dropped, self.disposed, self.may_hold
        try:
            body = _FIELDS.pack(MARK, number, steps_upto, kind, self.incarnation, *counts, len(name), name)
        except struct.error:  # sums of what peers say may be anything; the learner must not end over one
            upto, *counted = (min(count, _MOST) for count in (steps_upto, *counts))
            body = _FIELDS.pack(MARK, number, upto, kind, self.incarnation, *counted, len(name), name)
        return body + _CHECKSUM.pack(zlib.crc32(body))


class Record(NamedTuple):
    """An entry and its place."""

    number: int
    steps_upto: int
    entry: Entry


def unpack(content: bytes) -> Iterator[Record]:
    """The whole records in a file's content. What is damaged, torn or no record is passed over.

    Raises UsageError for a record of a kind that only a newer release knows.
    """
    at = content.find(MARK)
    while 0 <= at <= len(content) - RECORD_BYTES:
        record = _record(content[at : at + RECORD_BYTES])
        if record is not None:
            yield record
        # behind damage the next record may be anywhere: bytes may be missing as well as wrong
        at = content.find(MARK, at + (1 if record is None else RECORD_BYTES))


def is_of_first_format(content: bytes) -> bool:
    """Whether this begins as files of the releases did that wrote no numbers."""
    body, checksum = content[:_OLD_FIELDS_BYTES], content[_OLD_FIELDS_BYTES : _OLD_FIELDS_BYTES + _CHECKSUM.size]
    return len(checksum) == _CHECKSUM.size and _CHECKSUM.unpack(checksum)[0] == zlib.crc32(body)


def _record(raw: bytes) -> Record | None:
    body = raw[: _FIELDS.size]
    if _CHECKSUM.unpack_from(raw, _FIELDS.size)[0] != zlib.crc32(body):
        return None
    _, number, upto, kind, incarnation, seq, steps, sealed, dropped, disposed, may_hold, length, name = _FIELDS.unpack(
        body
    )
    if kind >= len(KINDS):
        raise UsageError(
            f"the journal has an entry of a kind that this release does not know ({kind}): use the release that wrote "
            "it, or choose another run.directory"
        )
    actor = name[:length].decode(errors="replace")
    entry = Entry(KINDS[kind], seq, steps, incarnation, actor, sealed, dropped, disposed, may_hold)
    return Record(number, upto, entry)
