"""First policies of connections, in bytes for each token: what new connections may fetch without working. Pure.

Each update sends a connection one policy. A connection that ends before it has delivered and was sent a second one has
cost a whole policy for nothing: that is debt of its token, paid off with time. While the debt is too large, new
connections of that token wait for their first policy, in order; those that have one are not concerned.

Actors that crash or lose their connections in their first seconds do the same as a peer that only fetches. So more is
paid off for a token with many actors and for a large policy: that costs less than what working actors are sent.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from dppo.learner.session.records import Action, Note, Peer, PeerKey
from dppo.protocol.snapshot import Snapshot

BYTES_PER_SECOND = 4 * 2**20  # of debt that are paid off, for each token
POLICIES_PER_SECOND = 1.0  # paid off where that is more
RESTART_SECONDS = 10.0  # ... and for each actor that the token has at once one policy in that time
LEAST_POLICIES = 64  # of debt that are always allowed
POLICIES_PER_ACTOR = 3  # and for each actor that the token has at once: all of them may restart twice
MEMORY_SECONDS = 600.0  # time constant with which a token's most actors at once are forgotten
MAX_RECORDS = 4096  # tokens


@dataclass
class _Record:
    """Record of one token."""

    looked_at: float
    debt: float = 0.0  # bytes
    unproven: int = 0  # bytes of first policies of connections that have not worked yet: debt, if they end now
    holders: int = 0  # connections that were sent a policy
    most_holders: float = 0.0
    was_noted: bool = False
    waiting: dict[PeerKey, Peer] = field(default_factory=dict)

    def pass_time(self, now: float, size: int) -> None:
        """Pay off debt with policies of that size."""
        seconds, self.looked_at = now - self.looked_at, now
        self.most_holders = max(self.holders, self.most_holders * math.exp(-seconds / MEMORY_SECONDS))
        policies = max(POLICIES_PER_SECOND, self.most_holders / RESTART_SECONDS)
        self.debt = max(0.0, self.debt - seconds * max(BYTES_PER_SECOND, policies * size))
        self.was_noted &= self.debt > 0

    def allows(self, size: int) -> bool:
        """Return whether one more connection may be sent a policy of that size."""
        most = max(LEAST_POLICIES, POLICIES_PER_ACTOR * max(self.most_holders, self.holders + 1))
        return self.debt + self.unproven + size <= most * size


class Fetches:
    """The debts of all tokens, and the peers that wait for their first policy."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._notes: list[Action] = []

    def __len__(self) -> int:
        return len(self._records) + sum(len(record.waiting) for record in self._records.values())

    def begin(self, peer: Peer, snapshot: Snapshot, now: float) -> bool:
        """Return whether this peer may be sent that policy now; if not, it waits."""
        if peer.sent_version:
            self._credit(peer)
            return True
        size = len(snapshot.graph)
        record = self._record(peer.token, now)
        record.pass_time(now, size)
        peer.fetched_by = peer.token
        if record.waiting or not record.allows(size):
            record.waiting[peer.key] = peer
            if not record.was_noted:
                record.was_noted = True
                by = f"token {peer.token}" if peer.token else "actors"
                text = f"{by}: policies were fetched over and over on new connections that did not deliver; "
                self._notes.append(Note(f"{text}{peer.actor} and other new ones wait for theirs"))
            return False
        record.holders += 1
        record.most_holders = max(record.most_holders, record.holders)
        record.unproven += size
        peer.first_version, peer.first_bytes = snapshot.version, size
        return True

    def _credit(self, peer: Peer) -> None:
        """Take a connection that has worked off what may become debt."""
        if not peer.first_bytes or not peer.steps or peer.have_version <= peer.first_version:
            return
        record = self._records.get(peer.fetched_by)
        if record is not None:
            record.unproven -= peer.first_bytes
        peer.first_bytes = 0

    def end(self, peer: Peer) -> None:
        """Note that this connection has ended. Once for each is enough, and more do no harm."""
        record = self._records.get(peer.fetched_by)
        if record is None:
            return
        record.waiting.pop(peer.key, None)
        self._credit(peer)
        record.holders -= peer.first_version > 0
        record.unproven -= peer.first_bytes
        record.debt += peer.first_bytes
        peer.first_version = peer.first_bytes = 0

    def forget(self) -> None:
        """Forget all connections, and blame none."""
        for record in self._records.values():
            record.waiting.clear()
            record.holders = record.unproven = 0

    def take_waiting(self) -> Iterator[Peer]:
        """Yield the peers to offer the newest policy again, for each token in order until one has to wait on."""
        for record in list(self._records.values()):
            waiting, record.waiting = record.waiting, {}
            while waiting and not record.waiting:
                yield waiting.pop(next(iter(waiting)))
            record.waiting |= waiting

    def take_notes(self) -> list[Action]:
        """Return what the user is to read."""
        notes, self._notes = self._notes, []
        return notes

    def _record(self, token: str, now: float) -> _Record:
        """Return a token's record. The oldest ones without connections make room for new ones."""
        record = self._records.get(token)
        if record is None:
            if len(self._records) >= MAX_RECORDS:
                unused = (key for key, record in self._records.items() if not record.holders and not record.waiting)
                oldest = next(unused, None)
                if oldest is not None:  # else: no more than there are connections
                    del self._records[oldest]
            record = self._records[token] = _Record(now)
        return record
