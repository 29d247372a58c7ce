"""Outcome of connection attempts, from libzmq's socket monitor. Reports; decides nothing."""

import errno
import struct
from collections.abc import Iterator, Sequence

import zmq

from dppo.protocol.transport.connection_event import ConnectionEvent

_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_CONNECT_DELAYED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)
_NOT_AUTHORISED = 400
_EVENT = struct.Struct("=Hi")  # zmq_socket_monitor(3)


def event_of(frames: Sequence[bytes]) -> tuple[int, int]:
    """Return number and value of the event that a monitor socket sent.

    As zmq.utils.monitor does, which imports asyncio: a tenth of the time that a process takes to start.
    """
    event, value = _EVENT.unpack(frames[0])
    return event, value


class Monitor:
    """Watches one socket; open it before the socket connects, and close it before the socket."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._watched = socket
        self._socket = socket.get_monitor_socket(_EVENTS)
        self._resolved = False  # this attempt has got as far as an address
        self._connected = False
        self._shaken = True  # this connection's handshake was reported

    def events(self) -> Iterator[ConnectionEvent]:
        """Yield all events since the last call."""
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            seen = self._meaning(*event_of(self._socket.recv_multipart(zmq.NOBLOCK)))
            if seen is not None:
                yield seen

    def wait(self, milliseconds: int) -> bool:
        """Return whether something has happened, at the latest after that long."""
        return bool(self._socket.poll(milliseconds))

    def close(self) -> None:
        """Without this the context can never be terminated."""
        self._watched.disable_monitor()
        self._socket.close(linger=0)

    def _meaning(self, event: int, value: int) -> ConnectionEvent | None:
        match event:
            case zmq.EVENT_CONNECT_DELAYED:
                self._resolved = True
            case zmq.EVENT_CONNECTED:
                self._connected, self._shaken = True, False
                return ConnectionEvent.TCP_CONNECTED
            case zmq.EVENT_CONNECT_RETRIED:
                resolved, self._resolved = self._resolved, False
                connected, self._connected = self._connected, False
                if not connected:
                    return ConnectionEvent.NO_LISTENER if resolved else ConnectionEvent.NAME_NOT_RESOLVED
            case zmq.EVENT_DISCONNECTED:
                shaken, self._shaken = self._shaken, True
                return (
                    ConnectionEvent.DISCONNECTED if shaken else ConnectionEvent.NOT_ZEROMQ
                )  # libzmq says nothing more about it
            case _:
                self._shaken = True
                return _outcome(event, value)
        return None


def _outcome(event: int, value: int) -> ConnectionEvent:
    """Return the event that a handshake came to."""
    match event:
        case zmq.EVENT_HANDSHAKE_SUCCEEDED:
            return ConnectionEvent.HANDSHAKE_SUCCEEDED
        case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return (
                ConnectionEvent.AUTHENTICATION_FAILED
                if value == _NOT_AUTHORISED
                else ConnectionEvent.AUTHENTICATION_UNAVAILABLE
            )
        case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            mismatch = value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
            return ConnectionEvent.MECHANISM_MISMATCH if mismatch else ConnectionEvent.NOT_ZEROMQ
    return ConnectionEvent.HANDSHAKE_TIMED_OUT if value == errno.EAGAIN else ConnectionEvent.DISCONNECTED_IN_HANDSHAKE
