"""A relay's side of the protocol, without I/O: frames and clock readings in, frames to send on out.

Knows who is on which connection and the newest policy; knows no sockets, and no content of what it hands on. Credit,
numbers and accounts are between actors and learner: a relay acknowledges nothing and keeps nothing for another time.
What it loses with a connection, its own or the learner's, is sent again by the peers that made it, after the next
HELLO.
"""

from dppo.actor.session.actions import Exit, Note, Reconnect
from dppo.actor.session.keepalive import Due, Keepalive
from dppo.learner.session.admission import ENDED
from dppo.learner.session.plausibility import check_tally
from dppo.learner.session.rate_limit import PeerLimits
from dppo.learner.session.records import PeerKey
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.codec import decode_from_actor, decode_from_learner, encode, opened
from dppo.protocol.errors import HostileError, ProtocolError
from dppo.protocol.messages import (
    Bye,
    EnvFault,
    FromLearner,
    Hello,
    Part,
    Ping,
    Policy,
    Reject,
    RelayHello,
    RelayWelcome,
    Tally,
    TimeShares,
    Welcome,
    Who,
)
from dppo.protocol.rollout import Blob
from dppo.relay.actions import Action, Disconnect, Down, Up
from dppo.relay.carried import Carried
from dppo.relay.held_policy import HeldPolicy

LEAVE_SECONDS = 10.0  # after the learner's BYE, for the actors to send theirs; one that is lost comes back within 5
KICK_SECONDS = 0.5  # from a refusal to the end of the connection, so that it arrives
RETRY_SECONDS = 1.0
REFUSED = 3  # exit code


class RelaySession:
    """One relay between its actors and its learner, across any number of connections. Methods return actions."""

    def __init__(self, *, relay: str, release: str, learner: str) -> None:
        """learner: its address, for texts."""
        self.welcome: RelayWelcome | None = None  # the newest; kept while there is no connection
        self.is_attached = False  # the learner takes what actors send
        self.carried = Carried()
        self._relay, self._release, self._learner = relay, release, learner
        self._keepalive = Keepalive()
        self._policy = HeldPolicy()
        self._limits = PeerLimits()
        self._welcomed: set[bytes] = set()  # connections of actors that the learner itself limits
        self._kicks: dict[bytes, float] = {}  # when to end those connections
        self._leaving: tuple[str, float] | None = None  # the learner's reason, and when to end at the latest

    # The learner

    def connected(self, now: float) -> list[Action]:
        """A fresh connection to the learner: introduce the relay. The actors must do so again as well."""
        self.lost()
        self._keepalive.connected(now)
        return self._say_hello(now)

    def lost(self) -> None:
        """Hand nothing on: the connection to the learner has ended."""
        self.is_attached = False
        self.carried.unbind_all()
        self._welcomed.clear()

    def _say_hello(self, now: float) -> list[Action]:
        self._keepalive.said_hello(now)
        hello = RelayHello(PROTOCOL_VERSION, PROTOCOL_VERSION, self._release, self._relay)
        return [Up(b"", encode(hello))]

    def from_learner(self, frame: bytes, blob: Blob | None, now: float) -> list[Action]:
        """Hand on one message of the learner, or take it where it is the relay's own."""
        self._keepalive.heard(now)
        incarnation, header = opened(frame)
        try:
            message = decode_from_learner(header, blob is not None)
            if not incarnation:
                return self._own(message, now)
            return self._to_actor(incarnation, message, header, blob, now)
        except ProtocolError as error:
            return self.unusable(error)

    def unusable(self, error: ProtocolError) -> list[Action]:
        """Begin anew with a learner that has sent what cannot be used."""
        self.lost()
        return [Note(f"what the learner sent cannot be used: {error}; connecting again"), Reconnect()]

    def _own(self, message: FromLearner, now: float) -> list[Action]:
        match message:
            case RelayWelcome():
                is_new = not self.is_attached
                self._keepalive.welcomed(message)
                self.is_attached, self.welcome = True, message
                return [Note(f"joined the learner at {self._learner}")] if is_new else []
            case Reject(fatal=True):
                return [Exit(REFUSED, f"refused by the learner: {message.text}")]
            case Reject():
                self._keepalive.refused_for_now(message.retry_after_seconds, now)
            case Who() if self.is_attached:  # another learner answers, on a connection that ZeroMQ made by itself
                return self.connected(now)
            case Bye():
                self._leaving = self._leaving or (message.reason, now + LEAVE_SECONDS)
        return []

    def _to_actor(
        self, incarnation: bytes, message: FromLearner, header: bytes, blob: Blob | None, now: float
    ) -> list[Action]:
        frames: list[tuple[bytes, Blob | None]] = [(header, blob)]
        if isinstance(message, Part) and blob is not None:
            self._policy.add(message, blob)
        elif isinstance(message, Policy) and blob is not None:
            if len(blob):
                self._policy.take(message, blob)
            else:
                frames = [*self._policy.messages(message, header)]
        connection = self.carried.connection(incarnation)
        if connection is None:  # it has gone meanwhile, and the learner will hear of it
            return []
        if isinstance(message, Welcome):
            self._welcomed.add(connection)
        if isinstance(message, Reject) and message.fatal:
            self._limits.dismiss(connection, now)
            self._kicks[connection] = now + KICK_SECONDS
        return [Down(connection, *frame) for frame in frames]

    # Actors

    def look(self, now: float) -> None:
        """Note that messages of actors are about to be read."""
        self._limits.look(now)

    def from_actor(
        self, connection: bytes, header: bytes | ProtocolError, blob: Blob | None, now: float
    ) -> list[Action]:
        """Hand on one message of an actor, where the learner can know whose it is."""
        key = PeerKey(connection)
        if self._limits.is_dismissed(key):
            return []
        self.carried.heard(connection)
        try:
            if connection not in self._welcomed:
                self._limits.spend(key, now)
            if isinstance(header, ProtocolError):
                raise header
            message = decode_from_actor(header, blob is not None)
            if isinstance(message, Hello):
                return self._hello(connection, message, header)
        except ProtocolError as error:
            return self._violation(connection, error, now)
        if isinstance(message, RelayHello):
            return self._refused(connection, Reject("relay", _NO_CHAIN, fatal=True), now)
        if not self.is_attached:
            return []
        if isinstance(message, EnvFault):  # by a connection of the watchdog's own, maybe
            return [Up(message.incarnation, header)]
        incarnation = self.carried.incarnation(connection)
        if incarnation:
            return [Up(incarnation, header, blob)]
        return [Down(connection, encode(Who()))] if self._limits.may_be_asked(key, now) else []

    def _hello(self, connection: bytes, hello: Hello, header: bytes) -> list[Action]:
        check_tally(hello.tally)
        if self.carried.incarnation(connection) not in (b"", hello.incarnation):
            raise HostileError(f"{hello.actor} says HELLO as another process on the same connection")
        if not self.is_attached or self.welcome is None:
            text = f"relay {self._relay} has no connection to the learner at {self._learner}; trying again"
            return [Down(connection, encode(Reject("relay", text, fatal=False, retry_after_seconds=RETRY_SECONDS)))]
        is_known = self.carried.connection(hello.incarnation) is not None
        if not is_known and len(self.carried) >= self.welcome.actors:
            text = f"relay {self._relay} carries {len(self.carried)} actors, as many as one may; trying again"
            return [Down(connection, encode(Reject("full", text, fatal=False, retry_after_seconds=RETRY_SECONDS)))]
        was_elsewhere = self.carried.bind(connection, hello.incarnation)
        gone: list[Action] = [Up(hello.incarnation, b"")] if was_elsewhere else []  # nothing more of it follows
        return [*gone, Up(hello.incarnation, header)]

    def _violation(self, connection: bytes, error: ProtocolError, now: float) -> list[Action]:
        if not self._limits.strike(PeerKey(connection), error, now):
            return []
        text = f"messages that cannot be used; the last: {error}"[:512]
        note = Note(f"an actor was disconnected: {error}")
        return [*self._refused(connection, Reject("protocol", text, fatal=True), now), note]

    def _refused(self, connection: bytes, reject: Reject, now: float) -> list[Action]:
        self._limits.dismiss(connection, now)
        self._kicks[connection] = now + KICK_SECONDS
        return [Down(connection, encode(reject))]

    def expel(self, connection: bytes, now: float) -> list[Action]:
        """End the connection of an actor whose token at this relay has ended."""
        if self._limits.is_dismissed(PeerKey(connection)):
            return []
        return self._refused(connection, ENDED, now)

    def departed(self, connection: bytes) -> list[Action]:
        """An actor's connection has ended, and all that came by it has been handed in."""
        self._limits.forget(connection)
        self._kicks.pop(connection, None)
        self._welcomed.discard(connection)
        incarnation = self.carried.gone(connection)
        return [Up(incarnation, b"")] if incarnation else []

    def reopened(self) -> list[Action]:
        """Forget all connections of actors: the socket is another one."""
        gone = [Up(incarnation, b"") for incarnation in self.carried.incarnations]
        self.carried.clear()
        self._welcomed.clear()
        self._kicks.clear()
        return [*gone]

    # Time

    def tick(self, now: float) -> list[Action]:
        """Time passed: HELLO again, PING, silence, connections to end, the end of the run."""
        due = [connection for connection, at in self._kicks.items() if now >= at]
        for connection in due:
            del self._kicks[connection]
        actions: list[Action] = [Disconnect(connection) for connection in due]
        if self._leaving is not None and (self.carried.is_deserted or now >= self._leaving[1]):
            return [*actions, Exit(0, self._leaving[0])]
        match self._keepalive.due(now):
            case Due.RECONNECT:
                self.lost()
                actions.append(Reconnect())
            case Due.HELLO:
                actions += self._say_hello(now)
            case Due.PING:
                actions.append(Up(b"", encode(Ping(now, Tally(), TimeShares()))))
        return actions


_NO_CHAIN = "a relay joins a learner, and this is another relay: give it the learner's own line"
