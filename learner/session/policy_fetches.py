"""First policies of connections, in bytes for each token: what new connections may fetch without working. Pure.

Each update sends a connection one policy. A connection that ends before it has delivered and was sent a second one has
cost a whole policy for nothing: that is debt of its token, paid off with time. While the debt is too large, new
connections of that token wait for their first policy; those that have one are not concerned.
"""

from dataclasses import dataclass

from dppo.learner.session.records import Action, Note, Peer
from dppo.protocol.snapshot import Snapshot

BYTES_PER_SECOND = 4 * 2**20  # of debt that are paid off, for each token
LEAST_POLICIES = 64  # of debt that are always allowed
POLICIES_PER_ACTOR = 2  # and for each actor that the token has had at once: all of them may restart twice
MAX_RECORDS = 4096  # tokens


@dataclass
class _Record:
    """Record of one token."""

    looked_at: float
    debt: float = 0.0  # bytes
    holders: int = 0  # connections that were sent a policy
    most_holders: int = 0
    was_noted: bool = False


class Fetches:
    """The debts of all tokens, and the peers that wait for their first policy."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._waiting: dict[bytes, Peer] = {}
        self._notes: list[Action] = []

    def __len__(self) -> int:
        return len(self._records) + len(self._waiting)

    def begin(self, peer: Peer, snapshot: Snapshot, now: float) -> bool:
        """Return whether this peer may be sent that policy now; if not, it waits."""
        if peer.sent_version:
            return True
        size = len(snapshot.graph)
        record = self._look(peer.token, now)
        if record.debt > size * max(LEAST_POLICIES, POLICIES_PER_ACTOR * record.most_holders):
            self._waiting[peer.id] = peer
            if not record.was_noted:
                record.was_noted = True
                by = f"token {peer.token}" if peer.token else "actors"
                text = f"{by}: policies were fetched over and over on new connections that did not deliver; "
                self._notes.append(Note(f"{text}{peer.actor} and other new ones wait for theirs"))
            return False
        record.holders += 1
        record.most_holders = max(record.most_holders, record.holders)
        peer.first_version, peer.first_bytes, peer.fetched_by = snapshot.version, size, peer.token
        return True

    def end(self, peer: Peer) -> None:
        """Note that this connection has ended. Once for each is enough, and more do no harm."""
        self._waiting.pop(peer.id, None)
        record = self._records.get(peer.fetched_by)
        size, peer.first_bytes = peer.first_bytes, 0
        if record is None or not size:
            return
        record.holders -= 1
        has_worked = peer.steps > 0 and peer.have_version > peer.first_version
        if not has_worked:
            record.debt += size

    def forget(self) -> None:
        """Forget all connections, and blame none."""
        self._waiting.clear()
        for record in self._records.values():
            record.holders = 0

    def take_waiting(self) -> list[Peer]:
        """Return the peers to offer the newest policy again."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        return waiting

    def take_notes(self) -> list[Action]:
        """Return what the user is to read."""
        notes, self._notes = self._notes, []
        return notes

    def _look(self, token: str, now: float) -> _Record:
        record = self._records.get(token)
        if record is None:
            self._make_room()
            record = self._records[token] = _Record(now)
        record.debt = max(0.0, record.debt - (now - record.looked_at) * BYTES_PER_SECOND)
        record.looked_at = now
        record.was_noted &= record.debt > 0
        return record

    def _make_room(self) -> None:
        """Bound the records: those without connections go first, the oldest before others."""
        if len(self._records) >= MAX_RECORDS:
            unused = (token for token, record in self._records.items() if not record.holders)
            del self._records[next(unused, next(iter(self._records)))]
