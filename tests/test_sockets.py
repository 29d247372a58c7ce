"""Real sockets on this machine: few tests, and every wait ends by an event or fails by a deadline."""

import socket as plain
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import zmq

from dppo.protocol.codec import MAX_HEADER_BYTES
from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.transport.dealer import Dealer
from dppo.protocol.transport.router import FRAMES_AT_ONCE, Frames, Router
from scripts.ports import free_port

MAX_BLOB_BYTES = 100_000
DEADLINE_SECONDS = 10.0

T = TypeVar("T")


@pytest.fixture(params=["ipc", "tcp"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "ipc":
        return f"ipc://{tmp_path}/sockets/s"
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def router(endpoint: str) -> Iterator[Router]:
    made = Router(endpoint, MAX_BLOB_BYTES)
    yield made
    made.close()


@pytest.fixture
def dealer(router: Router) -> Iterator[Dealer]:
    made = Dealer(router.endpoint)
    yield made
    made.close()


def until(wait: Callable[[float], None], found: Callable[[], T | None]) -> T:
    """What `found` finds, waiting for arrivals in between."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        result = found()
        if result is not None:
            return result
        wait(0.05)
    raise AssertionError("nothing came")


def first(router: Router) -> Frames | tuple[bytes, ProtocolError]:
    """The next message at the learner."""
    return until(router.wait, lambda: next(router.read(), None))


def say(dealer: Dealer, header: bytes, blob: bytes | None = None) -> None:
    """Send, as soon as there is a connection."""
    until(dealer.wait, lambda: dealer.send(header, blob) or None)


def heard(dealer: Dealer) -> tuple[bytes, bytes | None]:
    """The next message at the actor."""
    header, blob = until(dealer.wait, lambda: next(dealer.read(), None))
    return header, None if blob is None else bytes(blob)


def test_messages_and_blobs_arrive_in_both_directions_in_order(router: Router, dealer: Dealer) -> None:
    blob = bytes(range(256)) * 300
    say(dealer, b"one")
    assert dealer.send(b"two", blob)
    assert dealer.send(b"three", bytearray(b"x"))
    arrived = [first(router) for _ in range(3)]
    (peer,) = {message[0] for message in arrived}
    assert [(m[1], None if m[2] is None else bytes(m[2])) for m in arrived if len(m) == 3] == [
        (b"one", None), (b"two", blob), (b"three", b"x")
    ]  # fmt: skip
    assert router.send(peer, b"four")
    assert router.send(peer, b"five", blob)
    assert heard(dealer) == (b"four", None)
    assert heard(dealer) == (b"five", blob)


def test_the_router_says_where_it_listens(router: Router, endpoint: str) -> None:
    assert router.endpoint == endpoint


def test_a_peer_that_is_gone_is_reported_when_something_is_sent_to_it(router: Router) -> None:
    dealer = Dealer(router.endpoint)
    say(dealer, b"hello")
    peer = first(router)[0]
    assert router.send(peer, b"welcome")
    dealer.close()
    until(router.wait, lambda: None if router.send(peer, b"are you there?") else True)
    assert not router.send(b"nobody", b"and you?")


def test_what_a_peer_said_last_arrives_though_it_has_closed(router: Router) -> None:
    dealer = Dealer(router.endpoint)
    say(dealer, b"hello")
    dealer.send(b"rollout", bytes(50_000))
    dealer.send(b"bye")
    dealer.close()
    assert [first(router)[1] for _ in range(3)] == [b"hello", b"rollout", b"bye"]


def test_without_a_connection_nothing_is_queued(endpoint: str) -> None:
    dealer = Dealer(endpoint)
    assert not dealer.send(b"hello")
    router = Router(endpoint, MAX_BLOB_BYTES)
    say(dealer, b"second")
    assert first(router)[1] == b"second"
    dealer.close()
    router.close()


def test_a_frame_above_the_limit_is_not_received_and_costs_its_sender_the_connection(
    router: Router, dealer: Dealer
) -> None:
    say(dealer, b"hello")
    peer = first(router)[0]
    dealer.send(b"rollout", bytes(MAX_BLOB_BYTES + 1))
    until(router.wait, lambda: None if router.send(peer, b"are you there?") else True)
    assert next(router.read(), None) is None
    dealer.reconnect()
    say(dealer, b"rollout", bytes(MAX_BLOB_BYTES))
    again = first(router)
    assert again[0] != peer
    assert again[1] == b"rollout"


def test_the_limit_leaves_room_for_every_header(endpoint: str) -> None:
    router = Router(endpoint, 1)
    dealer = Dealer(endpoint)
    say(dealer, bytes(MAX_HEADER_BYTES))
    assert first(router)[1] == bytes(MAX_HEADER_BYTES)
    dealer.close()
    router.close()


@pytest.mark.parametrize("frames", [3, 4, 50])
def test_a_message_of_too_many_frames_is_reported_with_its_sender(router: Router, frames: int) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as rude:
        rude.linger = 0
        rude.connect(router.endpoint)
        rude.send_multipart([b"x"] * frames)
        message = first(router)
        assert len(message) == 2
        assert isinstance(message[1], ProtocolError)
        assert "more than 2 frames" in str(message[1])
        rude.send(b"polite")
        assert first(router)[:2] == (message[0], b"polite")


def test_a_header_above_the_limit_is_reported_with_its_sender(router: Router, dealer: Dealer) -> None:
    say(dealer, bytes(MAX_HEADER_BYTES + 1))
    message = first(router)
    assert isinstance(message[1], ProtocolError)
    assert str(MAX_HEADER_BYTES) in str(message[1])


def test_a_message_of_very_many_frames_is_read_in_slices_and_holds_up_nobody_for_long(router: Router) -> None:
    frames = 5 * FRAMES_AT_ONCE
    with zmq.Context() as context, context.socket(zmq.DEALER) as rude:
        rude.linger = 0
        rude.connect(router.endpoint)
        rude.send_multipart([b""] * frames)
        rude.send(b"polite")
        message = first(router)
        assert isinstance(message[1], ProtocolError)
        assert next(router.read(), None) is None  # a slice, after which the caller has its turn
        assert first(router)[:2] == (message[0], b"polite")


def is_reachable(router: Router, peer: bytes) -> bool:
    """Whether libzmq takes a message for that peer."""
    return router.send(peer, b"are you there?")


def test_a_disconnected_peer_is_gone_at_once_and_others_are_not(router: Router, dealer: Dealer) -> None:
    other = Dealer(router.endpoint)
    say(dealer, b"hello")
    peer = first(router)[0]
    say(other, b"hello")
    neighbour = first(router)[0]
    assert router.disconnect(peer)
    until(router.wait, lambda: None if is_reachable(router, peer) else True)
    assert is_reachable(router, neighbour)
    dealer.reconnect()
    say(dealer, b"hello again")
    again = first(router)
    assert again[0] not in (peer, neighbour)
    assert next(router.read(), None) is None
    assert router.disconnect(again[0])  # its descriptor is the one that was shut
    assert is_reachable(router, neighbour)
    other.close()


def test_who_is_gone_or_never_was_there_is_not_disconnected(router: Router) -> None:
    dealer = Dealer(router.endpoint)
    say(dealer, b"hello")
    peer = first(router)[0]
    dealer.close()
    until(router.wait, lambda: None if is_reachable(router, peer) else True)
    assert not router.disconnect(peer)
    assert not router.disconnect(b"nobody")


def test_an_actor_refuses_a_message_of_too_many_frames(endpoint: str) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as rude:
        rude.linger = 0
        if endpoint.startswith("ipc://"):
            Path(endpoint.removeprefix("ipc://")).parent.mkdir()
        rude.bind(endpoint)
        dealer = Dealer(endpoint)
        say(dealer, b"hello")
        rude.send_multipart([rude.recv_multipart()[0], b"a", b"b", b"c"])
        with pytest.raises(ProtocolError, match="3 frames"):
            heard(dealer)
        dealer.close()


def test_after_reconnecting_an_actor_is_another_peer(router: Router, dealer: Dealer) -> None:
    say(dealer, b"hello")
    before = first(router)[0]
    dealer.reconnect()
    say(dealer, b"hello again")
    assert first(router)[0] != before


def test_an_actor_finds_a_learner_that_was_started_again(endpoint: str) -> None:
    router = Router(endpoint, MAX_BLOB_BYTES)
    dealer = Dealer(endpoint)
    say(dealer, b"hello")
    first(router)
    router.close()
    router = Router(endpoint, MAX_BLOB_BYTES)
    deadline = time.monotonic() + DEADLINE_SECONDS
    message = None
    while message is None and time.monotonic() < deadline:  # until the loss is noticed, what is sent is lost
        dealer.send(b"who are you?")
        router.wait(0.02)
        message = next(router.read(), None)
    assert message is not None
    dealer.close()
    router.close()


def test_waking_ends_a_wait_in_another_thread(router: Router) -> None:
    started, ended = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        router.wait(60)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert started.wait(DEADLINE_SECONDS)
    router.wake()
    assert ended.wait(DEADLINE_SECONDS)
    thread.join()


def test_waking_before_the_wait_and_very_often_is_remembered_once_and_never_blocks(router: Router) -> None:
    for _ in range(100_000):
        router.wake()
    started = time.monotonic()
    router.wait(60)
    assert time.monotonic() - started < DEADLINE_SECONDS


def test_a_wait_ends_by_itself(router: Router, dealer: Dealer) -> None:
    router.wait(0.001)
    dealer.wait(0.001)


def test_a_second_learner_at_one_tcp_address_is_told_so(tmp_path: Path) -> None:
    with plain.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="another learner"):
            Router(f"tcp://127.0.0.1:{taken.getsockname()[1]}", MAX_BLOB_BYTES)


def test_a_directory_for_the_socket_is_made_for_its_user_only(tmp_path: Path) -> None:
    router = Router(f"ipc://{tmp_path}/new/s", MAX_BLOB_BYTES)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    router.close()
