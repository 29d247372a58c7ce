"""Whether an actor gets through to its learner, judged by what its socket reports. Pure; time is handed in.

A refusal ends the actor with one line; whatever may pass is waited for, and logged after a few seconds.
"""

from dppo.actor.session.actions import Action, Exit, Note, Reconnect
from dppo.protocol.transport.connection_event import ConnectionEvent

REFUSED = 3  # exit code
SILENT_SECONDS = 3.0  # before the first word about what one waits for
REPEAT_SECONDS = 30.0  # from the first word to the second; the pauses double
MAX_REPEAT_SECONDS = 600.0
HUNG_UP_SECONDS = 5.0  # a learner that hangs up for so long does not want our key; its guard is back after 1 s
HUNG_UP_TIMES = 4
AT_ONCE_SECONDS = (
    1.0  # later than this a learner hangs up because a handshake takes too long: at its HANDSHAKE_IVL, 2 s
)
RETRY_SECONDS = 2.0  # after a failure that libzmq itself takes for final

_WHY = {
    ConnectionEvent.NAME_NOT_RESOLVED: "the name of the learner's host is unknown here ({address}); trying again",
    ConnectionEvent.NO_LISTENER: "no learner answers at {address} {since}; trying again",
    ConnectionEvent.TCP_CONNECTED: "{address} accepts connections, but nothing answers; trying again",
    ConnectionEvent.HANDSHAKE_TIMED_OUT: (
        "the learner at {address} does not finish the handshake (stopped, or very busy?); trying again"
    ),
    ConnectionEvent.DISCONNECTED_IN_HANDSHAKE: (
        "{address} hangs up at once (a tunnel or proxy without a learner behind it?); trying again"
    ),
    ConnectionEvent.AUTHENTICATION_UNAVAILABLE: (
        "the learner at {address} cannot check tokens at the moment (see its log); trying again"
    ),
    ConnectionEvent.NOT_ZEROMQ: (
        "what answers at {address} does not speak ZeroMQ (another program's port?); trying again"
    ),
    ConnectionEvent.DISCONNECTED: "the connection to {address} was lost; trying again",
}


class Handshake:
    """One actor's attempts to reach one learner."""

    def __init__(self, address: str, *, has_token: bool, now: float) -> None:
        self._address = address
        self._has_token = has_token
        self._through = False
        self._was_through = False
        self._state = ConnectionEvent.NO_LISTENER
        self._say_at = now + SILENT_SECONDS
        self._put_off = False
        self._pause = REPEAT_SECONDS
        self._retry_at: float | None = None
        self._hung_up = 0
        self._hung_up_since = now
        self._ticked_at = now
        self._connected_after = now  # the connection is younger than that

    @property
    def is_through(self) -> bool:
        """Whether there is a connection; while there is none, `tick` says why."""
        return self._through

    @property
    def wants_greeting(self) -> bool:
        """Whether it is time to ask the other side what it is: hanging up alone may be a proxy's doing."""
        return self._wants_greeting

    _wants_greeting = False

    def saw(self, seen: ConnectionEvent, now: float) -> list[Action]:
        """Take an event of the socket."""
        if seen is ConnectionEvent.NAME_NOT_RESOLVED and self._address.startswith("ipc://"):
            seen = ConnectionEvent.NO_LISTENER  # there is no such file yet, or no more
        if seen is ConnectionEvent.HANDSHAKE_SUCCEEDED:
            self._through, self._was_through, self._hung_up, self._retry_at = True, True, 0, None
            return []
        if self._through:
            self._through = False
            self._state = ConnectionEvent.DISCONNECTED
            self._pause = REPEAT_SECONDS
            self._say_at = now + REPEAT_SECONDS  # the session says at once that the learner is gone
            self._put_off = True
        if self._put_off and seen not in (
            ConnectionEvent.DISCONNECTED,
            ConnectionEvent.NO_LISTENER,
        ):  # those are what gone means; all else is news
            self._put_off = False
            self._say_at = min(self._say_at, now + SILENT_SECONDS)
        if seen is ConnectionEvent.TCP_CONNECTED:
            self._connected_after = self._ticked_at
        if seen is ConnectionEvent.DISCONNECTED_IN_HANDSHAKE and now - self._connected_after > AT_ONCE_SECONDS:
            seen = ConnectionEvent.HANDSHAKE_TIMED_OUT  # or we were too busy to know: no reason to conclude anything
        if seen is ConnectionEvent.DISCONNECTED_IN_HANDSHAKE:
            self._state = seen
            return self._note_hang_up(now)
        if seen is ConnectionEvent.AUTHENTICATION_FAILED:
            return [
                _refused(
                    f"the learner at {self._address} does not accept this token (revoked, expired or of another run): "
                    "ask for a new line"
                )
            ]
        if seen is ConnectionEvent.MECHANISM_MISMATCH:
            return [self._other_mechanism()]
        if seen in (ConnectionEvent.AUTHENTICATION_UNAVAILABLE, ConnectionEvent.NOT_ZEROMQ):
            self._retry_at = now + RETRY_SECONDS
        if seen not in (ConnectionEvent.TCP_CONNECTED, ConnectionEvent.DISCONNECTED):
            self._hung_up = 0
            self._state = seen
        elif seen is ConnectionEvent.TCP_CONNECTED and self._state in (
            ConnectionEvent.DISCONNECTED,
            ConnectionEvent.NO_LISTENER,
            ConnectionEvent.NAME_NOT_RESOLVED,
        ):
            self._state = seen
        return []

    def greeted(self, mechanism: str, now: float) -> list[Action]:
        """Take the mechanism that the other side's greeting names: "CURVE", "NULL", ..., "" without a greeting."""
        self._wants_greeting = False
        self._hung_up, self._hung_up_since = 0, now
        if mechanism == "CURVE" and self._has_token:
            return [
                _refused(
                    f"the learner at {self._address} has another key than this token expects (another run, or not the "
                    "learner at all): ask for a new line"
                )
            ]
        if mechanism and (mechanism == "CURVE") != self._has_token:
            return [self._other_mechanism()]
        return []

    def tick(self, now: float) -> list[Action]:
        """Time passed, and everything that had happened before `now` has been handed in."""
        self._ticked_at = now
        actions: list[Action] = []
        if self._through:
            return actions
        if now >= self._say_at:
            self._say_at = now + self._pause
            self._pause = min(2 * self._pause, MAX_REPEAT_SECONDS)
            actions.append(Note(self._why))
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            actions.append(Reconnect())
        return actions

    @property
    def _why(self) -> str:
        since = "any more" if self._was_through else "yet"
        return _WHY[self._state].format(address=self._address, since=since)

    def _note_hang_up(self, now: float) -> list[Action]:
        if self._hung_up == 0:
            self._hung_up_since = now
        self._hung_up += 1
        if self._hung_up >= HUNG_UP_TIMES and now - self._hung_up_since >= HUNG_UP_SECONDS:
            self._wants_greeting = True
        return []

    def _other_mechanism(self) -> Exit:
        if self._has_token:
            return _refused(f"what answers at {self._address} is not encrypted, so it is not the learner of this token")
        return _refused(f"the learner at {self._address} admits no actor without a token: use its join line (--join)")


def _refused(text: str) -> Exit:
    return Exit(REFUSED, f"refused: {text}")
