"""Whether an actor gets through to its learner, judged by what its socket reports. Pure; time is handed in.

A refusal ends the actor with one line; whatever may pass is waited for, and said after a few seconds.
"""

from dppo.actor.session.actions import Action, Exit, Note, Reconnect
from dppo.protocol.transport.connection_event import Seen

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
    Seen.NO_SUCH_HOST: "the name of the learner's host is unknown here ({address}); trying again",
    Seen.NOBODY_THERE: "no learner answers at {address} {since}; trying again",
    Seen.CONNECTED: "{address} accepts connections, but nothing answers; trying again",
    Seen.NO_ANSWER: "the learner at {address} does not finish the handshake (stopped, or very busy?); trying again",
    Seen.HUNG_UP: "{address} hangs up at once (a tunnel or proxy without a learner behind it?); trying again",
    Seen.CANNOT_TELL: "the learner at {address} cannot check tokens at the moment (see its log); trying again",
    Seen.NOT_OURS: "what answers at {address} does not speak ZeroMQ (another program's port?); trying again",
    Seen.LOST: "the connection to {address} was lost; trying again",
}


class Handshake:
    """One actor's attempts to reach one learner."""

    def __init__(self, address: str, *, has_token: bool, now: float) -> None:
        self._address = address
        self._has_token = has_token
        self._through = False
        self._was_through = False
        self._state = Seen.NOBODY_THERE
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

    def saw(self, seen: Seen, now: float) -> list[Action]:
        """Something happened to the socket."""
        if seen is Seen.NO_SUCH_HOST and self._address.startswith("ipc://"):
            seen = Seen.NOBODY_THERE  # there is no such file yet, or no more
        if seen is Seen.WELCOME:
            self._through, self._was_through, self._hung_up, self._retry_at = True, True, 0, None
            return []
        if self._through:
            self._through = False
            self._state = Seen.LOST
            self._pause = REPEAT_SECONDS
            self._say_at = now + REPEAT_SECONDS  # the session says at once that the learner is gone
            self._put_off = True
        if self._put_off and seen not in (Seen.LOST, Seen.NOBODY_THERE):  # those are what gone means; all else is news
            self._put_off = False
            self._say_at = min(self._say_at, now + SILENT_SECONDS)
        if seen is Seen.CONNECTED:
            self._connected_after = self._ticked_at
        if seen is Seen.HUNG_UP and now - self._connected_after > AT_ONCE_SECONDS:
            seen = Seen.NO_ANSWER  # or we were too busy to tell: no reason to conclude anything
        if seen is Seen.HUNG_UP:
            self._state = seen
            return self._note_hang_up(now)
        if seen is Seen.NOT_AUTHORISED:
            return [
                _refused(
                    f"the learner at {self._address} does not accept this token (revoked, expired or of another run): "
                    "ask for a new line"
                )
            ]
        if seen is Seen.OTHER_MECHANISM:
            return [self._other_mechanism()]
        if seen in (Seen.CANNOT_TELL, Seen.NOT_OURS):
            self._retry_at = now + RETRY_SECONDS
        if seen not in (Seen.CONNECTED, Seen.LOST):
            self._hung_up = 0
            self._state = seen
        elif seen is Seen.CONNECTED and self._state in (Seen.LOST, Seen.NOBODY_THERE, Seen.NO_SUCH_HOST):
            self._state = seen
        return []

    def greeted(self, mechanism: str, now: float) -> list[Action]:
        """What the other side said it is: "CURVE", "NULL", ..., "" for nothing."""
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
        return _refused(f"the learner at {self._address} lets nobody in without a token: use its join line (--join)")


def _refused(text: str) -> Exit:
    return Exit(REFUSED, f"refused: {text}")
