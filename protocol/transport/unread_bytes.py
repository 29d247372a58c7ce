"""Bytes that connections have sent and that were not handed on yet, and the connections that must end for it.

libzmq limits the size of a frame, not of a message, and hands a message on when its last frame has come: 600 frames of
1 MB are 600 MB in our memory before we see the first byte. But the kernel counts what it received, and we count what we
were given; the difference is what is held. Pure bookkeeping: no sockets, no clock.

Counting alone would drift, because heartbeats and encryption are received and never handed on. What saves it is that
messages come in order: when one is handed on that was not complete at some earlier moment, then all that had been
received by that moment is no longer held.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Meter:
    """The bytes of one connection."""

    released: int = 0  # of those received, so many are surely not held any more
    marked: int = 0  # received when no complete message was left unread
    delivered: int = 0  # handed on after the first `released`

    def message(self, size: int) -> None:
        """A message of that many bytes on the wire has been handed on."""
        if self.marked > self.released:
            self.released, self.delivered = self.marked, 0
        self.delivered += size

    def held(self, received: int) -> int:
        """Bytes in memory, of so many received on this connection."""
        self.delivered = min(self.delivered, received - self.released)  # its beginning may have been before the mark
        return received - self.released - self.delivered

    def all_read(self, received: int) -> None:
        """All complete messages of so many bytes received have been handed on."""
        self.marked = received


@dataclass(frozen=True)
class Holding:
    """Bytes held of one connection."""

    key: int
    held_bytes: int
    allowed_bytes: int


@dataclass(frozen=True)
class Excess:
    """A connection that was ended because of what it had sent."""

    peer: bytes | None  # None: nothing of it has been handed on
    held_bytes: int
    allowed_bytes: int


def excess(holdings: Sequence[Holding], total_bytes: int) -> list[Holding]:
    """Return the connections to end: all above their allowance, then the largest until the sum fits the total."""
    greedy = [holding for holding in holdings if holding.held_bytes > holding.allowed_bytes]
    ended = {holding.key for holding in greedy}
    rest = sorted((h for h in holdings if h.key not in ended), key=lambda h: h.held_bytes)
    left = sum(holding.held_bytes for holding in rest)
    while left > total_bytes:
        largest = rest.pop()
        left -= largest.held_bytes
        greedy.append(largest)
    return greedy
