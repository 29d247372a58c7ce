"""Times of an actor's HELLO and PING, and when it gives a connection up. Times only; part of the session."""

from enum import Enum

from dppo.protocol.messages import RelayWelcome, Welcome

HELLO_FIRST_SECONDS = 0.3  # repeat an unanswered HELLO after this, doubling
HELLO_MAX_SECONDS = 2.0
DEFAULT_LEASE_SECONDS = 10.0  # before the learner has sent its own
DEFAULT_HEARTBEAT_SECONDS = 1.0


class Due(Enum):
    """Action that is due."""

    NOTHING = "nothing"
    HELLO = "hello"
    PING = "ping"
    RECONNECT = "reconnect"


class Keepalive:
    """One actor's contact with its learner."""

    def __init__(self) -> None:
        self.unanswered = True  # HELLO
        self._lease_seconds = DEFAULT_LEASE_SECONDS
        self._heartbeat_seconds = DEFAULT_HEARTBEAT_SECONDS
        self._heard = 0.0
        self._hello_at = 0.0
        self._hello_wait = HELLO_FIRST_SECONDS
        self._ping_at = 0.0
        self._reconnect_at: float | None = None

    def connected(self, now: float) -> None:
        """Start anew on a new connection."""
        self._heard, self._reconnect_at = now, None
        self._hello_wait = HELLO_FIRST_SECONDS

    def said_hello(self, now: float) -> None:
        """An answer is due."""
        self._hello_at = now
        self.unanswered = True

    def heard(self, now: float) -> None:
        """Note a message from the learner."""
        self._heard = now

    def welcomed(self, welcome: Welcome | RelayWelcome) -> None:
        """HELLO is answered."""
        self.unanswered = False
        self._lease_seconds = welcome.lease_seconds
        self._heartbeat_seconds = welcome.heartbeat_seconds

    def refused_for_now(self, retry_after_seconds: float, now: float) -> None:
        """Repeat HELLO after that time."""
        self._hello_at, self._hello_wait = now, retry_after_seconds
        self.unanswered = True

    def reconnect_after(self, seconds: float, now: float) -> None:
        """Schedule a new connection: nothing is of use on this one."""
        self._reconnect_at = now + seconds

    def due(self, now: float) -> Due:
        """Return the action that is due; asking again gives the next one."""
        if self._reconnect_at is not None and now >= self._reconnect_at:
            self._heard, self._reconnect_at = now, None
            return Due.RECONNECT
        if now - self._heard > self._lease_seconds:
            self._heard = now
            return Due.RECONNECT
        if self.unanswered:
            if now - self._hello_at < self._hello_wait:
                return Due.NOTHING
            self._hello_wait = min(2 * self._hello_wait, HELLO_MAX_SECONDS)
            return Due.HELLO
        if now - self._ping_at < self._heartbeat_seconds:
            return Due.NOTHING
        self._ping_at = now
        return Due.PING
