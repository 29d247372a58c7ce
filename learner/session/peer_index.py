"""Index of peers: by key, by connection and by actor. Part of the learner's session; knows no rules and no messages.

A connection carries one actor, or behind a relay several: each (connection, incarnation) is a peer of its own.
"""

from collections.abc import Iterable
from typing import TypeVar

from dppo.learner.session.records import Peer, PeerKey

MAX_NAMES = 3  # of one connection that are logged
Named = TypeVar("Named", str, bytes)


class PeerIndex:
    """All peers that live, and those whose connections have ended while messages of them may still arrive."""

    def __init__(self) -> None:
        self.peers: dict[PeerKey, Peer] = {}
        self.lost: dict[PeerKey, Peer] = {}  # nothing reaches them any more, but what they had sent may still arrive
        self.names: set[str] = set()  # of `peers`
        self._of_actors: dict[str, dict[PeerKey, None]] = {}  # of `peers` and `lost`, in the order in which they came
        self._of_connections: dict[bytes, dict[PeerKey, None]] = {}  # likewise

    def heard_of(self, key: PeerKey) -> Peer | None:
        """Return the peer of that key, None before its HELLO."""
        return self.peers.get(key) or self.lost.get(key)

    def of_incarnation(self, incarnation: bytes) -> Peer | None:
        """Return that process's live peer, if it has one."""
        return next((peer for peer in self.peers.values() if peer.incarnation == incarnation), None)

    def of_actor(self, actor: str) -> list[Peer]:
        """Return the peers of that name, the lost ones too."""
        return self._known(self._of_actors.get(actor, ()))

    def of_connection(self, connection: bytes) -> list[Peer]:
        """Return the peers on that connection, the lost ones too."""
        return self._known(self._of_connections.get(connection, ()))

    def on(self, connection: bytes) -> list[Peer]:
        """Return the peers that live on that connection."""
        keys = self._of_connections.get(connection)
        return [self.peers[key] for key in keys if key in self.peers] if keys is not None else []

    def described(self, connection: bytes) -> str:
        """Return the names of those that live on that connection, for people."""
        names = [peer.actor for peer in self.on(connection)]
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        return ", ".join(names[:MAX_NAMES]) + more or "an unknown peer"

    def add(self, peer: Peer) -> None:
        """Take in a peer as the newest of all, whether it is known or not."""
        self.remove(peer.key)
        self.peers[peer.key] = peer
        self.names.add(peer.actor)
        self._of_actors.setdefault(peer.actor, {})[peer.key] = None
        self._of_connections.setdefault(peer.key.connection, {})[peer.key] = None

    def remove(self, key: PeerKey) -> Peer | None:
        """Forget that peer. Return it if it lived."""
        lost, peer = self.lost.pop(key, None), self.peers.pop(key, None)
        gone = peer or lost
        if gone is not None:
            _drop(self._of_actors, gone.actor, key)
            _drop(self._of_connections, key.connection, key)
        if peer is not None:
            self.names.discard(peer.actor)
        return peer

    def lose(self, connection: bytes) -> list[Peer]:
        """Count all that live on that connection as lost, and return them."""
        gone = self.on(connection)
        for peer in gone:
            self.lost[peer.key] = self.peers.pop(peer.key)
            self.names.discard(peer.actor)
        return gone

    def clear(self) -> None:
        """Forget all peers."""
        self.peers.clear()
        self.lost.clear()
        self.names.clear()
        self._of_actors.clear()
        self._of_connections.clear()

    def __len__(self) -> int:
        """Count all entries, for tests: none may stay behind."""
        of_all = (*self._of_actors.values(), *self._of_connections.values())
        return len(self.peers) + len(self.lost) + len(self.names) + sum(map(len, of_all))

    def _known(self, keys: Iterable[PeerKey]) -> list[Peer]:
        return [peer for peer in map(self.heard_of, keys) if peer is not None]


def _drop(table: dict[Named, dict[PeerKey, None]], of: Named, key: PeerKey) -> None:
    del table[of][key]
    if not table[of]:
        del table[of]
