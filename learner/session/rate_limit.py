"""Limits of each peer: messages beyond what it was asked for, violations, questions put to unknown peers.

Part of the learner's session, without I/O. The limits hold before anything is parsed: for each incarnation that has
joined by an envelope, and for each connection in all else, a relay's times the incarnations that it may carry. An
honest actor sends PING once a second, HELLO every 0.3 s at most without an answer, and otherwise only what it was asked
for: that is given back to it. So the allowance is for what comes on top; what a minute's standstill piles up fits in.
"""

import math
from dataclasses import dataclass, field

from dppo.learner.session.records import PeerKey
from dppo.protocol.errors import HostileError, ProtocolError

MAX_STRIKES = 3
FORGIVEN_SECONDS = 60.0  # one strike is, after that long
BURST_MESSAGES = 100.0  # unasked, at once
MESSAGES_PER_SECOND = 20.0  # unasked, for ever
HELLO_MESSAGES = 4.0  # what a HELLO counts for: it is the dearest to answer
STANDSTILL_SECONDS = 1.0  # of ours, from which on more than a burst may have piled up
QUESTION_SECONDS = 0.25  # an unknown peer is sent WHO this often
MAX_RECORDS = 2**16  # more connections than a process can have


@dataclass
class _Record:
    """Record of one connection, or of one incarnation on it."""

    allowance: float
    counted_at: float
    actors: int  # that it stands for
    strikes: int = 0
    struck_at: float = 0.0
    asked_at: float = float("-inf")
    dismissed: bool = False
    carried: "dict[bytes, _Record]" = field(default_factory=dict)  # of a connection: by incarnation


class PeerLimits:
    """Limits of all peers, kept until `forget` is called. A key without an incarnation names the connection itself."""

    def __init__(self, most_carried: int = 1) -> None:
        """most_carried: incarnations on a relay's connection at once."""
        self._most_carried = most_carried
        self._records: dict[bytes, _Record] = {}  # by connection
        self._looked_at: float | None = None
        self._piled_up = 0.0  # for what may have piled up in the newest standstill of ours
        self._stood_until = -math.inf

    def __len__(self) -> int:
        return len(self._records)

    def look(self, now: float) -> None:
        """Note that messages are about to be read.

        What an honest peer sent while we did not read arrives at once: after a standstill of ours each may have sent as
        much as that time allows, whatever a burst is.
        """
        stood = now - self._looked_at if self._looked_at is not None else 0.0
        self._looked_at = now
        if stood >= STANDSTILL_SECONDS:
            self._piled_up, self._stood_until = stood * MESSAGES_PER_SECOND, now
            for of_connection in self._records.values():
                for record in (of_connection, *of_connection.carried.values()):
                    burst = BURST_MESSAGES * record.actors
                    record.allowance = min(record.allowance, burst) + self._piled_up * record.actors
                    record.counted_at = now

    def attach(self, connection: bytes, now: float) -> None:
        """Note that the connection is a relay's: from now on it stands for all that it may carry."""
        record = self._of_connection(connection, now)
        record.allowance += BURST_MESSAGES * (self._most_carried - record.actors)
        record.actors = self._most_carried

    def spend(self, peer: PeerKey, now: float, messages: float = 1.0) -> None:
        """A message has come. Raises HostileError where it is one too many."""
        record = self._record(peer, now)
        grown = record.allowance + (now - record.counted_at) * MESSAGES_PER_SECOND * record.actors
        record.allowance = min(grown, max(BURST_MESSAGES * record.actors, record.allowance)) - messages
        record.counted_at = now
        if record.allowance < 0:
            record.allowance = 0.0
            raise HostileError(f"more than {MESSAGES_PER_SECOND * record.actors:g} unrequested messages a second")

    def give_back(self, peer: PeerKey, messages: float) -> None:
        """Refund messages: we asked for them, or accepted the rollout."""
        record = self._known(peer)
        if record is not None:
            most = max(BURST_MESSAGES * record.actors, record.allowance)
            record.allowance = min(record.allowance + messages, most)

    def may_be_asked(self, peer: PeerKey, now: float) -> bool:
        """Whether to send WHO to that unknown peer: once in a while, however much it sends."""
        record = self._record(peer, now)
        if now - record.asked_at < QUESTION_SECONDS / record.actors:
            return False
        record.asked_at = now
        return True

    def strike(self, peer: PeerKey, error: ProtocolError, now: float) -> bool:
        """Record a violation. Return whether to disconnect: after MAX_STRIKES, or at once for a HostileError."""
        record = self._record(peer, now)
        forgiven = int((now - record.struck_at) / FORGIVEN_SECONDS)
        record.strikes = max(0, record.strikes - forgiven) + 1
        record.struck_at = now
        record.dismissed = record.strikes >= MAX_STRIKES or isinstance(error, HostileError)
        return record.dismissed

    def dismiss(self, connection: bytes, now: float) -> None:
        """Note that the connection is to be ended."""
        self._of_connection(connection, now).dismissed = True

    def is_dismissed(self, peer: PeerKey) -> bool:
        """Whether the peer, or its whole connection, is to be disconnected, so that its messages are ignored."""
        record = self._records.get(peer.connection)
        if record is None or record.dismissed or not peer.incarnation:
            return record is not None and record.dismissed
        carried = record.carried.get(peer.incarnation)
        return carried is not None and carried.dismissed

    def forget(self, connection: bytes) -> None:
        """The connection is no more."""
        self._records.pop(connection, None)

    def _known(self, peer: PeerKey) -> _Record | None:
        record = self._records.get(peer.connection)
        return record if record is None or not peer.incarnation else record.carried.get(peer.incarnation)

    def _record(self, peer: PeerKey, now: float) -> _Record:
        connection, incarnation = peer
        of_connection = self._records.get(connection) or self._of_connection(connection, now)
        if not incarnation:
            return of_connection
        record = of_connection.carried.get(incarnation)
        if record is None:
            record = of_connection.carried[incarnation] = self._new(1, now)
            while len(of_connection.carried) > 2 * self._most_carried:  # those that have left among them
                del of_connection.carried[next(iter(of_connection.carried))]
        return record

    def _of_connection(self, connection: bytes, now: float) -> _Record:
        record = self._records.get(connection)
        if record is None:
            record = self._records[connection] = self._new(1, now)
            while len(self._records) > MAX_RECORDS:
                del self._records[next(iter(self._records))]
        return record

    def _new(self, actors: int, now: float) -> _Record:
        piled_up = self._piled_up if now - self._stood_until < STANDSTILL_SECONDS else 0.0
        return _Record((BURST_MESSAGES + piled_up) * actors, now, actors)
