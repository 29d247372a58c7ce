"""The actor's ZeroMQ socket, with the options that keep the protocol's promises. One thread owns it."""

from collections.abc import Iterator

import zmq

from dppo.protocol.errors import ProtocolError
from dppo.protocol.rollout import Blob
from dppo.protocol.security.curve import ClientSecurity, check_library, public_key
from dppo.protocol.transport.connection_event import ConnectionEvent
from dppo.protocol.transport.endpoints import wants_ipv6
from dppo.protocol.transport.monitor import Monitor
from dppo.protocol.transport.router import Router, common_options


class Dealer:
    """An actor's end: one learner, reconnecting by itself after a lost connection."""

    def __init__(
        self, endpoint: str, security: ClientSecurity | None = None, *, sibling: "Dealer | None" = None
    ) -> None:
        """sibling: share its threads, and be closed before it."""
        check_library()
        self.endpoint = endpoint
        self.security = security
        self._is_sibling = sibling is not None
        self._context: zmq.Context[zmq.Socket[bytes]] = sibling._context if sibling is not None else zmq.Context()
        self._open()

    def sibling(self) -> "Dealer":
        """Another connection to the same place, in the same threads."""
        return Dealer(self.endpoint, self.security, sibling=self)

    def _open(self) -> None:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # queue only to a live connection: the outbox is ours, not libzmq's
        socket.setsockopt(zmq.RECONNECT_IVL, 100)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 5000 if self.endpoint.startswith("tcp") else 500)
        socket.setsockopt(zmq.CONNECT_TIMEOUT, 3000)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)  # longer than the learner's own: it is the one that is busy
        common_options(socket)
        socket.setsockopt(zmq.IPV6, wants_ipv6(self.endpoint))
        if self.security is not None:
            secret_key = self.security.secret_key
            socket.setsockopt(zmq.CURVE_PUBLICKEY, public_key(secret_key))
            socket.setsockopt(zmq.CURVE_SECRETKEY, secret_key)
            socket.setsockopt(zmq.CURVE_SERVERKEY, self.security.server_key)
        self._monitor = Monitor(socket)
        socket.connect(self.endpoint)
        self._socket = socket

    def events(self) -> Iterator[ConnectionEvent]:
        """Yield the events of the connection since the last call."""
        return self._monitor.events()

    def wait(self, seconds: float) -> None:
        """Return when something arrived or after that long."""
        self._socket.poll(int(seconds * 1000))

    def wait_beside(self, router: Router, seconds: float, *, for_room: bool) -> None:
        """Return when something arrived here or at the router, or after that long.

        for_room: wait here only, and for room to send as well.
        """
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN | zmq.POLLOUT if for_room else zmq.POLLIN)
        if not for_room:
            router.be_watched(poller)
        poller.poll(int(seconds * 1000))

    def read(self) -> Iterator[tuple[bytes, memoryview | None]]:
        """Yield all that has arrived, as (header, blob). Raises ProtocolError for any other number of frames."""
        while (
            int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN
        ):  # cheaper than an exception, and called at every step
            frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            if len(frames) > 2:
                raise ProtocolError(f"a message of {len(frames)} frames from the learner")
            yield frames[0].bytes, frames[1].buffer if len(frames) == 2 else None

    def send(self, header: bytes, blob: Blob | None = None) -> bool:
        """False where there is no connection: the session sends again once it has one."""
        try:
            self._socket.send_multipart([header] if blob is None else [header, blob], zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True

    def reconnect(self) -> None:
        """A new socket: libzmq gives up for good after some errors, and a new one asks for the address again."""
        self._monitor.close()
        self._socket.close(linger=0)
        self._open()

    def connect(self, endpoint: str, security: ClientSecurity | None) -> None:
        """A new socket, to another learner."""
        self.endpoint, self.security = endpoint, security
        self.reconnect()

    def close(self) -> None:
        """Close the socket, giving what was sent last half a second to leave."""
        self._monitor.close()
        self._socket.close(linger=500)
        if not self._is_sibling:
            self._context.term()
