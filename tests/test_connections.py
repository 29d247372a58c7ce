"""The table of connections: descriptors are used again, and no peer may be taken for another by it."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from dppo.protocol.transport.connections import Connections

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        yield ours, theirs


@pytest.fixture
def connections() -> Iterator[Connections]:
    table = Connections()
    yield table
    table.close()


def is_shut(theirs: socket.socket) -> bool:
    theirs.setblocking(False)
    try:
        return theirs.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_bound_peer_is_shut_and_its_descriptor_stays_with_its_owner(pair: Pair, connections: Connections) -> None:
    ours, theirs = pair
    connections.accepted(ours.fileno())
    connections.bind(b"a", ours.fileno())
    assert connections.of(b"a") is not None
    assert connections.shut(b"a")
    assert is_shut(theirs)
    assert ours.fileno() >= 0
    assert connections.ended(ours.fileno()) == b"a"
    assert connections.of(b"a") is None
    assert not connections.shut(b"a")
    assert len(connections) == 0


def test_a_descriptor_that_another_socket_has_by_now_is_left_alone(pair: Pair, connections: Connections) -> None:
    ours, theirs = pair
    connections.accepted(ours.fileno())
    connections.bind(b"a", ours.fileno())
    other, others_peer = socket.socketpair()
    with other, others_peer:
        fd = ours.fileno()
        socket.close(ours.detach())
        os.dup2(other.fileno(), fd)  # the number is in use again; nobody has told us yet
        assert not connections.shut(b"a")
        assert not is_shut(others_peer)
        os.close(fd)
        assert not connections.shut(b"a")
    assert theirs.fileno() >= 0


def test_a_message_of_an_earlier_connection_is_not_taken_for_one_of_the_next_with_its_descriptor(
    pair: Pair, connections: Connections
) -> None:
    ours, _ = pair
    fd = ours.fileno()
    connections.accepted(fd)
    assert connections.ended(fd) is None  # it never said a word that we have read
    connections.accepted(fd)
    connections.bind(b"the first", fd)
    assert connections.of(b"the first") is None
    connections.all_read()
    connections.bind(b"the second", fd)
    assert connections.ended(fd) == b"the second"


def test_a_claim_made_too_early_holds_once_the_peer_is_found_to_be_alive(pair: Pair, connections: Connections) -> None:
    ours, _ = pair
    for _ in range(2):
        connections.accepted(ours.fileno())
    connections.bind(b"a", ours.fileno())
    connections.confirm(b"a")  # it may still be the earlier one's
    assert not connections.shut(b"a")
    connections.all_read()
    assert not connections.shut(b"a")
    connections.confirm(b"b")
    assert not connections.shut(b"b")
    connections.confirm(b"a")
    assert connections.shut(b"a")


def test_a_peer_that_moved_on_keeps_its_new_connection(pair: Pair, connections: Connections) -> None:
    ours, theirs = pair
    connections.accepted(ours.fileno())
    connections.bind(b"a", ours.fileno())
    connections.accepted(theirs.fileno())
    connections.bind(b"a", ours.fileno())  # already its own
    connections.bind(b"b", ours.fileno())  # nobody shares a connection
    assert connections.of(b"b") is None
    connections.ended(theirs.fileno())
    assert connections.of(b"a") is not None


def test_what_is_unknown_is_ignored(connections: Connections) -> None:
    assert connections.ended(3) is None
    connections.bind(b"a", 3)
    assert connections.of(b"a") is None
    connections.accepted(10**6)  # it was gone before we heard of it
    assert len(connections) == 0


def test_a_connection_is_shut_though_no_file_can_be_opened_any_more(pair: Pair, connections: Connections) -> None:
    ours, theirs = pair
    connections.accepted(ours.fileno())
    connections.bind(b"a", ours.fileno())
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 1, limits[1]))
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(ours.fileno()))
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(ours.fileno())
        assert connections.shut(b"a")
        assert is_shut(theirs)


def test_a_shut_connection_is_held_open_by_nobody_but_its_owner(pair: Pair, connections: Connections) -> None:
    ours, _ = pair
    connections.accepted(ours.fileno())
    connections.bind(b"a", ours.fileno())
    inode = os.fstat(ours.fileno()).st_ino
    assert connections.shut(b"a")
    holders = [fd for fd in os.listdir("/dev/fd") if _inode(int(fd)) == inode]
    assert holders == [str(ours.fileno())]


def _inode(fd: int) -> int | None:
    try:
        return os.fstat(fd).st_ino
    except OSError:  # the listing's own
        return None
