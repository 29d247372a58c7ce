"""Connections of the operating system behind the peers, so that each can be measured, and shut at once.

libzmq has no call for that, but it reports which file descriptors it accepts and closes, and each message on which
it came. A descriptor is a number that the next connection gets again, so a connection is known by the inode of its
socket, which is not. Knows descriptors; knows no zmq and no messages.
"""

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from dppo.protocol.transport.unread_bytes import Holding, Meter, excess

MEASURED_AT_ONCE = 200  # connections, in turn: each takes 8 microseconds
IDLE_TIMEOUT_SECONDS = 10.0  # an actor sends HELLO at once; a silent client takes up a file
IDLE_TIMEOUT_LOW_FDS_SECONDS = 0.5  # where open files run short: a flood of them must not keep actors out
MIN_TRACKED_BYTES = 4096  # held, and not worth a record
TCP_INFO_BYTES = 136  # of struct tcp_info, up to and with tcpi_bytes_received
BYTES_RECEIVED_OFFSET = 128


@dataclass
class Connection:
    """One accepted connection, from when libzmq says so until it says that it has ended."""

    fd: int
    inode: int
    settled: bool  # whatever is read from now on with this descriptor came on this connection
    peer: bytes | None = None  # known once a message has come
    claimant: bytes | None = None  # a peer that probably does: a message came before this was settled
    meter: Meter = field(default_factory=Meter)
    holding: Holding | None = None  # when it was last measured
    seen_at: float | None = None  # when it was first measured

    def received_bytes(self) -> int | None:
        """Return the bytes that the kernel counted in; None where it does not: unix sockets, and not on Linux."""
        if not hasattr(socket, "TCP_INFO"):
            return None
        try:  # all three given, so that no system call is made to find them out
            handle = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=self.fd)
        except OSError:  # it has ended, and that is reported next
            return None
        try:
            info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        except OSError:
            return None
        finally:
            handle.detach()  # it is libzmq's
        if len(info) < TCP_INFO_BYTES:
            return None
        received: int = struct.unpack_from("=Q", info, BYTES_RECEIVED_OFFSET)[0]
        return received


class Connections:
    """All live connections of a listening socket. One thread uses it: the one that reads the messages."""

    def __init__(self) -> None:
        self._by_fd: dict[int, Connection] = {}
        self._by_peer: dict[bytes, Connection] = {}
        self._used: set[int] = set()  # descriptors that an earlier connection had
        self._unsettled: list[Connection] = []
        self._to_measure: list[int] = []
        # taken while there are some: connections have to be ended above all when no file can be opened any more
        self._nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._handle = os.dup(self._nothing)

    def __len__(self) -> int:
        return len(self._by_fd)

    def of(self, peer: bytes) -> Connection | None:
        """Return that peer's connection, as far as it is known for certain."""
        return self._by_peer.get(peer)

    def accepted(self, fd: int) -> None:
        """Add a connection that was accepted."""
        self.ended(fd)  # in case its end was not reported
        try:
            inode = os.fstat(fd).st_ino
        except OSError:  # it has ended already, and that is reported next
            return
        connection = Connection(fd, inode, settled=fd not in self._used)
        self._used.add(fd)
        self._by_fd[fd] = connection
        if not connection.settled:
            self._unsettled.append(connection)

    def ended(self, fd: int) -> bytes | None:
        """Remove the connection with that descriptor; return its peer."""
        connection = self._by_fd.pop(fd, None)
        if connection is None or connection.peer is None:
            return None
        if self._by_peer.get(connection.peer) is connection:
            del self._by_peer[connection.peer]
        return connection.peer

    def all_read(self) -> None:
        """Note that all that arrived before now is read: no message of an earlier connection can come up any more."""
        for connection in self._unsettled:
            connection.settled = True
        self._unsettled.clear()

    def bind(self, peer: bytes, fd: int) -> None:
        """A message of that peer came on that descriptor. Not believed while it may be an earlier connection's."""
        connection = self._by_fd.get(fd)
        if connection is None or connection.peer is not None:
            return
        connection.claimant = peer
        if connection.settled:
            self._believe(connection)

    def confirm(self, peer: bytes) -> None:
        """The peer has been found to be alive: the claim that it made before its connection was settled holds."""
        for connection in self._by_fd.values():
            if connection.claimant == peer and connection.settled and connection.peer is None:
                self._believe(connection)

    def _believe(self, connection: Connection) -> None:
        assert connection.claimant is not None, "a message came on it"
        connection.peer = connection.claimant
        self._by_peer[connection.peer] = connection

    def measure(
        self, allowed_bytes: Callable[[bytes | None], int], now: float, *, all_read: bool, room: int
    ) -> list[Connection]:
        """Ask the kernel what has come in; of many connections only some at a time. Returns the silent ones.

        allowed_bytes: of a peer, None standing for an unknown one. all_read: no complete message is left unread.
        room: how many connections may be open before files run short.
        """
        limit_seconds = IDLE_TIMEOUT_SECONDS if len(self) <= room else IDLE_TIMEOUT_LOW_FDS_SECONDS
        if not self._to_measure:
            self._to_measure = list(self._by_fd)
        silent = []
        for fd in self._to_measure[-MEASURED_AT_ONCE:]:
            connection = self._by_fd.get(fd)
            if connection is None:
                continue
            if connection.seen_at is None:
                connection.seen_at = now
            elif connection.claimant is None and now - connection.seen_at > limit_seconds:
                silent.append(connection)
            received = connection.received_bytes()
            if received is None:
                continue
            if all_read:
                connection.meter.all_read(received)
            held = connection.meter.held(received)
            big = held > MIN_TRACKED_BYTES
            connection.holding = Holding(fd, held, allowed_bytes(connection.peer)) if big else None
        del self._to_measure[-MEASURED_AT_ONCE:]
        return silent

    def excess(self, total_bytes: int) -> list[tuple[Connection, Holding]]:
        """Return the connections that hold more than they may, or are the largest of too much in all."""
        holdings = [connection.holding for connection in self._by_fd.values() if connection.holding is not None]
        return [(self._by_fd[holding.key], holding) for holding in excess(holdings, total_bytes)]

    def shut(self, peer: bytes) -> bool:
        """End the peer's connection at once: libzmq then frees all that it holds of it. False where it is unknown."""
        connection = self._by_peer.get(peer)
        return connection is not None and self.shut_connection(connection)

    def shut_connection(self, connection: Connection) -> bool:
        """Shut both directions. False where it has ended, though another may have its descriptor by now."""
        try:
            os.dup2(connection.fd, self._handle, inheritable=False)  # no other connection can get behind that number
        except OSError:
            return False
        try:
            if os.fstat(self._handle).st_ino != connection.inode:
                return False
            shutting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=self._handle)
            try:
                shutting.shutdown(socket.SHUT_RDWR)
            except OSError:  # the other end was faster
                return False
            finally:
                shutting.detach()
            return True
        finally:
            os.dup2(self._nothing, self._handle, inheritable=False)  # or the connection would stay open

    def close(self) -> None:
        """Close our two reserved descriptors. Idempotent: their numbers may be reused afterwards."""
        own, self._handle, self._nothing = (self._handle, self._nothing), -1, -1
        for fd in own:
            if fd >= 0:
                os.close(fd)
