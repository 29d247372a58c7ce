"""Between the socket and the session: limits before anything is parsed, and connections that must end.

Part of the network thread; times are handed in.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

from dppo.learner.session.admission import ENDED
from dppo.learner.session.flow_control import CREDIT
from dppo.learner.session.records import Action, Kick, Note, Send
from dppo.learner.session.session import LearnerSession
from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.protocol.codec import decode_from_actor
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import Hello, Policy
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
        session = self._session
        session.peer_limits.look(clock())
        for peer, header, *rest in self._router.receive():
            now = clock()
            if session.peer_limits.is_dismissed(peer):
                continue
            try:
                session.peer_limits.spend(peer, now)
                if isinstance(header, ProtocolError):
                    raise header
                blob = rest[0]
                message = decode_from_actor(header, blob is not None)
            except ProtocolError as error:
                yield session.violation(peer, error, now)
                continue
            token = self._router.user if isinstance(message, Hello) else ""
            if token and self._authenticator is not None and not self._authenticator.is_valid(token):
                yield [Send(peer, ENDED), Kick(peer)]
            else:
                yield session.receive(peer, message, blob, now, token)
        for peer in self._router.departed():
            self._kicks.pop(peer, None)
            yield session.unreachable(peer, clock())

    def sending(self, send: Send) -> None:
        """Refund the rate limiter for the replies that an outgoing POLICY asks for."""
        if isinstance(send.message, Policy):
            self._session.peer_limits.give_back(send.peer, ANSWERS)

    def unsendable(self, peer: bytes, now: float) -> Sequence[Action]:
        """Disconnect a peer that is gone, or has not read for long. It may come back on a new connection."""
        self._router.disconnect(peer)
        return self._session.unreachable(peer, now)

    def kick(self, kick: Kick, now: float) -> None:
        """Listen to it no more, and end that connection soon."""
        self._session.peer_limits.dismiss(kick.peer, now)
        self._kicks.setdefault(kick.peer, now + KICK_SECONDS)

    def tick(self, now: float) -> Sequence[Action]:
        """End the connections whose time has come, and those that have sent more than they may."""
        session = self._session
        for peer, due in list(self._kicks.items()):
            if now >= due:
                del self._kicks[peer]
                if not self._router.disconnect(peer):  # it went by itself
                    session.peer_limits.forget(peer)
        notes = []
        if len(session.peers) > self._room and not self._warned:
            self._warned = True
            text = f"{len(session.peers)} actors, and file descriptors for {self._room}: allow more (ulimit -Hn)"
            notes.append(Note(f"{text}, or others cannot connect"))
        for excess in self._router.end_excess(session.allowed_bytes, session.total_bytes, now):
            session.refused_messages += 1
            known = session.peers.get(excess.peer) if excess.peer is not None else None
            name = known.actor if known is not None else "an unknown peer"
            notes.append(
                Note(
                    f"{name} was disconnected: {excess.held_bytes:,} bytes of it waited unread, "
                    f"{excess.allowed_bytes:,} are its share and {session.total_bytes:,} that of all"
                )
            )
        return notes
