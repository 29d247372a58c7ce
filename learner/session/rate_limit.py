"""Limits of each connection: messages beyond what it was asked for, violations, questions put to unknown peers.

Part of the learner's session, without I/O. The limits hold per connection and before anything is parsed. An honest
actor sends PING once a second, HELLO every 0.3 s at most without an answer, and otherwise only what it was asked for:
that is given back to it. So the allowance is for what comes on top, and what a minute's standstill piles up fits in.
"""

import math
from dataclasses import dataclass

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
    """Record of one connection."""

    allowance: float
    counted_at: float
    strikes: int = 0
    struck_at: float = 0.0
    asked_at: float = float("-inf")
    dismissed: bool = False


class PeerLimits:
    """Per-connection limits, kept until `forget` is called."""

    def __init__(self) -> None:
        self._records: dict[bytes, _Record] = {}
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
            for record in self._records.values():
                record.allowance = min(record.allowance, BURST_MESSAGES) + self._piled_up
                record.counted_at = now

    def spend(self, peer: bytes, now: float, messages: float = 1.0) -> None:
        """A message has come. Raises HostileError where it is one too many."""
        record = self._record(peer, now)
        grown = record.allowance + (now - record.counted_at) * MESSAGES_PER_SECOND
        record.allowance = min(grown, max(BURST_MESSAGES, record.allowance)) - messages
        record.counted_at = now
        if record.allowance < 0:
            record.allowance = 0.0
            raise HostileError(f"more than {MESSAGES_PER_SECOND:g} messages a second that nobody asked for")

    def give_back(self, peer: bytes, messages: float) -> None:
        """Refund messages: we asked for them, or accepted the rollout."""
        record = self._records.get(peer)
        if record is not None:
            record.allowance = min(record.allowance + messages, max(BURST_MESSAGES, record.allowance))

    def may_be_asked(self, peer: bytes, now: float) -> bool:
        """Whether to send WHO to that unknown peer: once in a while, however much it sends."""
        record = self._record(peer, now)
        if now - record.asked_at < QUESTION_SECONDS:
            return False
        record.asked_at = now
        return True

    def strike(self, peer: bytes, error: ProtocolError, now: float) -> bool:
        """Record a violation. Return whether to disconnect: after MAX_STRIKES, or at once for a HostileError."""
        record = self._record(peer, now)
        forgiven = int((now - record.struck_at) / FORGIVEN_SECONDS)
        record.strikes = max(0, record.strikes - forgiven) + 1
        record.struck_at = now
        record.dismissed = record.strikes >= MAX_STRIKES or isinstance(error, HostileError)
        return record.dismissed

    def dismiss(self, peer: bytes, now: float) -> None:
        """Note that the peer is to be disconnected."""
        self._record(peer, now).dismissed = True

    def is_dismissed(self, peer: bytes) -> bool:
        """Whether it is to be disconnected, so that its messages are ignored."""
        record = self._records.get(peer)
        return record is not None and record.dismissed

    def forget(self, peer: bytes) -> None:
        """The connection is no more."""
        self._records.pop(peer, None)

    def _record(self, peer: bytes, now: float) -> _Record:
        record = self._records.get(peer)
        if record is None:
            piled_up = self._piled_up if now - self._stood_until < STANDSTILL_SECONDS else 0.0
            record = self._records[peer] = _Record(BURST_MESSAGES + piled_up, now)
            while len(self._records) > MAX_RECORDS:
                del self._records[next(iter(self._records))]
        return record
