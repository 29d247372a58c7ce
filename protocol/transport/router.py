"""The learner's ZeroMQ socket, with the options that keep the protocol's promises.

One thread owns a socket. Only `Router.wake` may be called from another.
"""

import contextlib
import socket as sockets
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

from dppo.protocol.codec import MAX_HEADER_BYTES
from dppo.protocol.errors import HostileError, ProtocolError, UsageError
from dppo.protocol.rollout import Blob
from dppo.protocol.security.curve import ServerSecurity, check_library
from dppo.protocol.security.zap_handler import DOMAIN, ZapHandler
from dppo.protocol.transport.connections import Connections
from dppo.protocol.transport.endpoints import check_endpoint, leaves_this_machine, wants_ipv6
from dppo.protocol.transport.fd_limits import connections_that_fit
from dppo.protocol.transport.monitor import event_of
from dppo.protocol.transport.unread_bytes import Excess

Frames = tuple[bytes, bytes, memoryview | None]  # peer, header, blob

HEARTBEAT_MILLISECONDS = 1000
HEARTBEAT_TIMEOUT_MILLISECONDS = 3000  # a cut network is noticed by both sides within this, keepalive takes 27 s
HANDSHAKE_MILLISECONDS = 2000  # libzmq's 30 s lets idle clients use up the file descriptors
MESSAGES_AT_ONCE = 1000  # read before other work has its turn
COPIED_BYTES = 65536  # up to here a copy is cheaper than none (docs/decisions.md)
FRAMES_AT_ONCE = 10_000  # of a message that is thrown away
QUEUED_MESSAGES = 4096  # for one connection: a policy in parts, and what a relay's actors are sent at once
BACKLOG = 4096  # the default of 100 makes 1,000 joining actors retry for a second


class Router:
    """The learner's end: any number of peers, each known by the id that ZeroMQ gave its connection."""

    def __init__(self, endpoint: str, max_blob_bytes: int, security: ServerSecurity | None = None) -> None:
        """security: whom to accept; may be None over ipc and on loopback only. Raises UsageError."""
        self.endpoint = check_endpoint(endpoint)
        check_library()
        if security is None and leaves_this_machine(endpoint):
            raise UsageError(
                f"{endpoint} can be reached from other hosts: without keys every client could join and listen"
            )
        self._context = zmq.Context()
        socket = self._context.socket(zmq.ROUTER)
        self._socket = socket
        self._guard: ZapHandler | None = None
        self._newest: zmq.Frame | None = None
        # all before bind: libzmq copies options into the listener
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # an error instead of silence when a peer is gone or full
        socket.setsockopt(
            zmq.MAXMSGSIZE, max(max_blob_bytes, MAX_HEADER_BYTES)
        )  # the default lets any client park gigabytes
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MILLISECONDS)
        socket.setsockopt(zmq.BACKLOG, BACKLOG)
        common_options(socket)
        socket.setsockopt(zmq.SNDHWM, QUEUED_MESSAGES)
        socket.setsockopt(zmq.IPV6, wants_ipv6(endpoint))
        self._connections = Connections()
        self._all_read = True  # by the newest `receive`
        self._departed: list[bytes] = []
        self._discarding = False  # the rest of a message of too many frames is still to be read
        self._events = _monitor(self._context, socket)
        try:
            if security is not None:
                socket.setsockopt(zmq.CURVE_SERVER, 1)
                socket.setsockopt(zmq.CURVE_SECRETKEY, security.secret_key)
                socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
                socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without it the domain alone accepts every client
                self._guard = ZapHandler(self._context, security)
            _bind(socket, endpoint)
        except (zmq.ZMQError, OSError) as error:
            self.close()
            raise UsageError(f"cannot listen on {endpoint}: {error}. Is another learner running there?") from None
        self._wake_read, self._wake_write = sockets.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._wake_read, zmq.POLLIN)

    @property
    def address(self) -> str:
        """The endpoint with numbers in it, also where a name or an interface was given."""
        return bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).decode().rstrip("\0")

    @property
    def guard(self) -> ZapHandler | None:
        """Return the handler that decides about connections; None where there are no keys."""
        return self._guard

    @property
    def user(self) -> str:
        """Return the owner of the key by which the newest message of `receive` came; "" where there are no keys."""
        return str(self._newest.get("User-Id")) if self._guard is not None and self._newest is not None else ""

    def wait(self, seconds: float) -> None:
        """Return when something arrived, when woken, or after that long."""
        for ready, _ in self._poller.poll(int(seconds * 1000)):
            if ready != self._socket:
                self._wake_read.recv(4096)

    def be_watched(self, poller: zmq.Poller) -> None:
        """Have that poller look for messages here as well."""
        poller.register(self._socket, zmq.POLLIN)

    def wake(self) -> None:
        """End a `wait` in another thread."""
        with contextlib.suppress(BlockingIOError):  # it is full of wake-ups already
            self._wake_write.send(b"\0")

    def read(self) -> Iterator[Frames | tuple[bytes, ProtocolError]]:
        """Yield the messages that have arrived, up to a bound: more is left for the next call.

        A message other than (header) or (header, blob) comes as an error; its other frames are read and thrown away.
        """
        self._follow_connections()
        self._all_read = False
        for _ in range(MESSAGES_AT_ONCE):
            if self._discarding and not self._discard():
                return
            try:
                peer = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                self._connections.all_read()
                self._all_read = True
                return
            header = self._newest = self._socket.recv(zmq.NOBLOCK, copy=False)
            blob = self._socket.recv(zmq.NOBLOCK, copy=False) if header.more else None
            connection = self._connections.of(peer)
            if connection is None:
                self._bind_connection(peer, header)
            else:
                connection.meter.message(len(header) + (0 if blob is None else len(blob)))
            if blob is not None and blob.more:
                self._discarding = True
                yield peer, HostileError("a message of more than 2 frames")
            elif len(header) > MAX_HEADER_BYTES:  # checked here too, so that it is never copied
                yield peer, HostileError(f"a header of {len(header)} bytes; at most {MAX_HEADER_BYTES} are allowed")
            else:
                yield peer, header.bytes, None if blob is None else _kept(blob)

    def _bind_connection(self, peer: bytes, frame: zmq.Frame) -> None:
        try:
            fd = int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:  # its ZMTP is of before 2013, which has no such thing; it will be ended as silent
            return
        self._connections.bind(peer, fd)

    def _discard(self) -> bool:
        """Read on to the end of the message, one slice of it; False where it has not come to the end."""
        for _ in range(FRAMES_AT_ONCE):
            if not self._socket.recv(zmq.NOBLOCK, copy=False).more:
                self._discarding = False
                return True
        return False

    def departed(self) -> list[bytes]:
        """Return the peers whose connections have ended since the last call; their last messages have been received."""
        departed, self._departed = self._departed, []
        return departed

    def disconnect(self, peer: bytes) -> bool:
        """End the peer's connection at once, and free what has been received on it.

        What was sent to it a moment ago is lost. False where there is no such connection (any more).
        """
        self._follow_connections()
        if self._connections.of(peer) is None and self.send(peer, b""):
            self._connections.confirm(peer)
        return self._connections.shut(peer)

    def end_excess(self, allowed_bytes: Callable[[bytes | None], int], total_bytes: int, now: float) -> list[Excess]:
        """End the connections that have sent more, not handed on yet, than they may; call it after `receive`, often.

        Those that never say anything are ended as well, and not worth a word.
        allowed_bytes: of a peer; None stands for one that has sent nothing yet.
        total_bytes: of all together; above it the largest have to go.
        """
        room = connections_that_fit()
        for connection in self._connections.measure(allowed_bytes, now, all_read=self._all_read, room=room):
            self._connections.shut_connection(connection)
        return [
            Excess(connection.peer, holding.held_bytes, holding.allowed_bytes)
            for connection, holding in self._connections.excess(total_bytes)
            if self._connections.shut_connection(connection)
        ]

    def _follow_connections(self) -> None:
        while int(self._events.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event, value = event_of(self._events.recv_multipart(zmq.NOBLOCK))
            if event == zmq.EVENT_ACCEPTED:
                self._connections.accepted(value)
            elif event == zmq.EVENT_DISCONNECTED:
                peer = self._connections.ended(value)
                if peer is not None:
                    self._departed.append(peer)

    def send(self, peer: bytes, header: bytes, blob: Blob | None = None) -> bool:
        """False where the peer is gone or does not read."""
        frames = [peer, header] if blob is None else [peer, header, blob]
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def close(self) -> None:
        """Close the socket, giving what was sent last half a second to leave."""
        if self._guard is not None:
            self._guard.closing()
        self._socket.disable_monitor()
        self._events.close(linger=0)
        self._socket.close(linger=500)
        self._context.term()
        self._connections.close()
        if self._guard is not None:
            self._guard.join()
        for end in ("_wake_read", "_wake_write"):
            if hasattr(self, end):
                getattr(self, end).close()


def common_options(socket: zmq.Socket[bytes]) -> None:
    """Set the options that both ends need."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 1000)  # counts messages, roughly; credit is what bounds bytes
    # none: at a limit libzmq stops reading a connection, heartbeats too, and aborts the process with the next heartbeat
    # where that one has ended (4.3.5, `!_io_error`). Credit, rates and `end_excess` bound what is unread
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MILLISECONDS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MILLISECONDS)


def _kept(blob: zmq.Frame) -> memoryview:
    """The frame's content. A small one is copied: it would hold on to all of the buffer that it was received into."""
    return memoryview(blob.bytes) if len(blob) <= COPIED_BYTES else blob.buffer


def _monitor(context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """Return the socket on which libzmq reports connections that come and go."""
    address = "inproc://connections"
    socket.monitor(address, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
    events: zmq.Socket[bytes] = context.socket(zmq.PAIR)
    events.setsockopt(zmq.RCVHWM, 0)  # at a limit libzmq's thread would wait for us, and every connection with it
    events.connect(address)
    return events


def _bind(socket: zmq.Socket[bytes], endpoint: str) -> None:
    if endpoint.startswith("ipc://"):
        directory = Path(endpoint.removeprefix("ipc://")).parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket.bind(endpoint)
