"""A relay's process: clock, sockets and signals around the session. Decides nothing."""

import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from dppo.actor.join_options import JoinOptions
from dppo.actor.joining import learner_found
from dppo.actor.session.actions import Action as ConnectionAction
from dppo.actor.session.actions import Exit, Note, Reconnect
from dppo.actor.session.connection_status import Handshake
from dppo.learner.transport.listener import Listening
from dppo.protocol.codec import enveloped
from dppo.protocol.errors import DppoError, ProtocolError, RefusedError
from dppo.protocol.process.heartbeat_file import HealthFile
from dppo.protocol.process.household import handle_here_only
from dppo.protocol.process.lifeline import watch_parent
from dppo.protocol.release import RELEASE
from dppo.protocol.security.curve import ClientSecurity
from dppo.protocol.security.zmtp_probe import mechanism_at
from dppo.protocol.transport.connection_event import ConnectionEvent
from dppo.protocol.transport.dealer import Dealer
from dppo.protocol.transport.fd_limits import raise_limit
from dppo.protocol.transport.router import MESSAGES_AT_ONCE
from dppo.relay.actions import Action, Disconnect, Down, Up
from dppo.relay.config import RelayConfig
from dppo.relay.door import Door, own_endpoint
from dppo.relay.session import RelaySession

log = logging.getLogger("dppo.relay")

TICK_SECONDS = 0.05
GREETING_SECONDS = 1.0
TOKENS_SECONDS = 1.0  # a token that was revoked is of no use any more after this


def run(way: JoinOptions, config: RelayConfig) -> None:
    """Hand on messages between actors and learner until the run is over, or SIGTERM.

    Raises UsageError for an address that cannot be used, RefusedError where the learner refuses this relay.
    """
    watch_parent()
    raise_limit()
    way.find()  # a line that cannot be used is said before anything is opened
    name = config.name or f"{os.uname().nodename}-{os.getpid()}"
    stop = _EndSignals()
    listening = Listening(
        config.bind or own_endpoint(),
        config.advertise,
        config.write_join_file,
        shows_secrets=sys.stdout.isatty(),
    )
    door = Door(listening, Path(config.directory))
    try:
        found = learner_found(way, HealthFile(), lambda: bool(stop))
        if found is not None:
            _Relay(name, door, *found).serve(stop)
    finally:
        door.close()
    if stop:
        log.info("relay %s ends: its actors wait for it, or for another one at %s", name, listening.bind)


class _EndSignals:
    """SIGTERM and SIGINT."""

    def __init__(self) -> None:
        self._came = False
        for number in (signal.SIGTERM, signal.SIGINT):
            handle_here_only(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        self._came = True

    def __bool__(self) -> bool:
        return self._came


class _Relay:
    """The session between its two sockets."""

    def __init__(self, name: str, door: Door, endpoint: str, security: ClientSecurity | None) -> None:
        self._door = door
        self._dealer = Dealer(endpoint, security)
        self._session = RelaySession(relay=name, release=RELEASE, learner=endpoint)
        self._handshake = Handshake(endpoint, has_token=security is not None, now=time.monotonic())
        self._unsent: deque[Up] = deque()  # to the learner; while there are some, no actor is read
        self._exit: Exit | None = None
        self._tokens: dict[bytes, str] = {}  # of the actors' connections, where there are keys
        self._tokens_at = 0.0

    def serve(self, stop: _EndSignals) -> None:
        """Hand on until the end. Raises RefusedError, DppoError."""
        health, tick_at = HealthFile(), 0.0
        try:
            while not stop and self._exit is None:
                self._dealer.wait_beside(self._door.router, TICK_SECONDS, for_room=bool(self._unsent))
                self._read_learner()
                self._send_up()
                if not self._unsent:
                    self._read_actors()
                now = time.monotonic()
                if now >= tick_at:
                    tick_at = now + TICK_SECONDS
                    self._tick(now)
                    health.touch(now)
        finally:
            self._dealer.close()
        if self._exit is None:
            return
        if self._exit.code == RefusedError.exit_code:
            raise RefusedError(self._exit.reason)
        if self._exit.code:
            raise DppoError(self._exit.reason)
        log.info("the relay ends: %s", self._exit.reason)

    def _read_learner(self) -> None:
        try:
            for frame, blob in self._dealer.read():
                self._do(self._session.from_learner(frame, blob, time.monotonic()))
        except ProtocolError as error:
            self._do(self._session.unusable(error))

    def _read_actors(self) -> None:
        router, session, count = self._door.router, self._session, 0
        session.look(time.monotonic())
        for connection, header, *rest in router.read():
            count += 1
            if self._door.authenticator is not None:
                self._tokens[connection] = router.user
            self._do(session.from_actor(connection, header, rest[0] if rest else None, time.monotonic()))
        if count < MESSAGES_AT_ONCE:  # all is read, so nothing of those that have gone is still to come
            for connection in router.departed():
                self._tokens.pop(connection, None)
                self._do(session.departed(connection))
        self._send_up()

    def _tick(self, now: float) -> None:
        for seen in self._dealer.events():
            self._obey(self._handshake.saw(seen, time.monotonic()))
            if seen is ConnectionEvent.HANDSHAKE_SUCCEEDED:
                self._unsent.clear()
                self._do(self._session.connected(now))
            elif seen is ConnectionEvent.DISCONNECTED:
                self._unsent.clear()
                self._session.lost()
        if self._handshake.wants_greeting:
            self._obey(self._handshake.greeted(mechanism_at(self._dealer.endpoint, GREETING_SECONDS), now))
        self._obey(self._handshake.tick(now))
        self._do(self._session.tick(now))
        self._tend(now)
        self._send_up()

    def _tend(self, now: float) -> None:
        """Look after the socket of the actors."""
        door, welcome = self._door, self._session.welcome
        if welcome is not None and door.make_room(welcome.max_rollout_bytes):
            self._tokens.clear()
            self._do(self._session.reopened())
        for excess in door.router.end_excess(lambda connection: door.allowed_bytes, sys.maxsize, now):
            log.warning("an actor was disconnected: %s bytes of it waited unread", f"{excess.held_bytes:,}")
        if door.authenticator is not None and now >= self._tokens_at:
            self._tokens_at = now + TOKENS_SECONDS
            if door.router.guard is not None:
                door.router.guard.tend()
            door.authenticator.flush()
            door.authenticator.refresh()
            for connection, token in self._tokens.items():
                if not door.authenticator.is_valid(token):
                    self._do(self._session.expel(connection, now))

    def _obey(self, actions: Sequence[ConnectionAction]) -> None:
        """Carry out what the view of the connection asks for."""
        self._do([action for action in actions if isinstance(action, Note | Reconnect | Exit)])

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Up():
                    self._unsent.append(action)
                case Down():
                    if not self._door.router.send(action.connection, action.header, action.blob):
                        self._door.router.disconnect(action.connection)  # gone, or has not read for long
                        self._do(self._session.departed(action.connection))
                case Disconnect():
                    self._door.router.disconnect(action.connection)
                case Note():
                    log.info(action.text)
                case Reconnect():
                    self._unsent.clear()
                    self._session.lost()
                    self._dealer.reconnect()
                    self._handshake.saw(ConnectionEvent.DISCONNECTED, time.monotonic())
                case Exit():
                    self._exit = self._exit or action

    def _send_up(self) -> None:
        while self._unsent:
            up = self._unsent[0]
            is_sent = self._dealer.send(enveloped(up.header, up.incarnation), up.blob)
            if not is_sent and up.incarnation:  # its own messages are sent again in time
                return
            self._unsent.popleft()
