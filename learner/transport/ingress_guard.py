"""Between the socket and the session: limits before anything is parsed, and connections that must end.

Part of the network thread; times are handed in.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

from dppo.learner.session.admission import ENDED
from dppo.learner.session.flow_control import CREDIT
from dppo.learner.session.records import Action, Kick, Note, PeerKey, Send
from dppo.learner.session.session import LearnerSession
from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.protocol.codec import decode_from_actor, opened
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import FromActor, Hello, Policy, RelayHello
from dppo.protocol.rollout import Blob
from dppo.protocol.transport.fd_limits import actors_that_fit, raise_limit
from dppo.protocol.transport.router import Router

log = logging.getLogger("dppo.learner")

KICK_SECONDS = 0.5  # from REJECT to the end of the connection, so that the reason arrives
ANSWERS = CREDIT + 4  # messages that a POLICY asks for at most: HAVE, STOPPED, and rollouts that turn out to be stale


class IngressGuard:
    """Guards one session behind one router."""

    def __init__(self, router: Router, session: LearnerSession, authenticator: TokenAuthenticator | None) -> None:
        """authenticator: whose tokens are valid; None where none is needed."""
        self._router = router
        self._session = session
        self._authenticator = authenticator
        self._room = actors_that_fit(raise_limit())
        self._warned = False
        self._kicks: dict[bytes, float] = {}  # when to end those connections

    def arrivals(self, clock: Callable[[], float]) -> Iterator[Sequence[Action]]:
        """Yield the actions for each message that has arrived, and for each connection that has ended."""
        session, limits = self._session, self._session.peer_table.peer_limits
        limits.look(clock())
        for connection, frame, *rest in self._router.read():
            now = clock()
            incarnation, header = (b"", frame) if isinstance(frame, ProtocolError) else opened(frame)
            key = PeerKey(connection, incarnation)
            if limits.is_dismissed(key):
                continue
            try:
                limits.spend(session.peer_table.paying(key), now)
                if isinstance(header, ProtocolError):
                    raise header
                blob = rest[0]
                is_gone = bool(incarnation) and not header and blob is None  # an empty envelope
                message = None if is_gone else decode_from_actor(header, blob is not None)
            except ProtocolError as error:
                yield session.violation(key, error, now)
                continue
            yield session.detached(key, now) if message is None else self._handed_on(key, message, blob, now)
        for connection in self._router.departed():
            self._kicks.pop(connection, None)
            yield session.unreachable(connection, clock())

    def _handed_on(self, key: PeerKey, message: FromActor, blob: Blob | None, now: float) -> Sequence[Action]:
        """Let the session answer a message, unless it is an actor's or a relay's HELLO by a token that has ended."""
        token = self._router.user if isinstance(message, Hello | RelayHello) else ""
        if token and self._authenticator is not None and not self._authenticator.is_valid(token):
            return [Send(key, ENDED), Kick(key.connection)]
        return self._session.receive(key, message, blob, now, token)

    def sending(self, send: Send) -> None:
        """Refund the rate limiter for the replies that an outgoing POLICY asks for."""
        if isinstance(send.message, Policy):
            self._session.peer_table.peer_limits.give_back(send.peer, ANSWERS)

    def unsendable(self, connection: bytes, now: float) -> Sequence[Action]:
        """End a connection that is gone, or has not read for long. Its peers may come back on a new one."""
        self._router.disconnect(connection)
        return self._session.unreachable(connection, now)

    def kick(self, kick: Kick, now: float) -> None:
        """Listen to it no more, and end that connection soon."""
        self._session.peer_table.peer_limits.dismiss(kick.connection, now)
        self._kicks.setdefault(kick.connection, now + KICK_SECONDS)

    def tick(self, now: float) -> Sequence[Action]:
        """End the connections whose time has come, and those that have sent more than they may."""
        session = self._session
        for connection, due in list(self._kicks.items()):
            if now >= due:
                del self._kicks[connection]
                if not self._router.disconnect(connection):  # it went by itself
                    session.peer_table.peer_limits.forget(connection)
        notes = []
        if not self._warned and (connections := self._connections()) > self._room:
            self._warned = True
            text = f"{connections} actors, and file descriptors for {self._room}: allow more (ulimit -Hn)"
            notes.append(Note(f"{text}, or others cannot connect"))
        total = session.budget.total_bytes()
        for excess in self._router.end_excess(session.budget.allowed_bytes, total, now):
            session.refused_messages += 1
            name = "an unknown peer" if excess.peer is None else session.peer_table.index.described(excess.peer)
            notes.append(
                Note(
                    f"{name} was disconnected: {excess.held_bytes:,} bytes of it waited unread, "
                    f"{excess.allowed_bytes:,} are its share and {total:,} that of all"
                )
            )
        return notes

    def _connections(self) -> int:
        """Connections of peers: no more than there are peers, so these are counted first."""
        peers = self._session.peer_table.peers
        return len(peers) if len(peers) <= self._room else len({key.connection for key in peers})
