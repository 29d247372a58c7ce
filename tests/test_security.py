"""Who gets through the learner's door: real sockets on loopback, and every wait ends by an event or by a deadline."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from doors import Door
from zmq.utils.monitor import parse_monitor_message

from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import ClientSecurity, check_library, fingerprint, new_secret_key, public_key
from dppo.protocol.security.self_test import check_that_unknown_keys_are_refused
from dppo.protocol.transport.connection_event import ConnectionEvent
from dppo.protocol.transport.dealer import Dealer
from dppo.protocol.transport.monitor import event_of
from dppo.protocol.transport.router import Router
from scripts.ports import free_port

MAX_BLOB_BYTES = 100_000
DEADLINE_SECONDS = 20.0


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def router(door: Door) -> Iterator[Router]:
    made = Router(f"tcp://127.0.0.1:{free_port()}", MAX_BLOB_BYTES, door.server)
    yield made
    made.close()


def outcome(dealer: Dealer, wanted: set[ConnectionEvent]) -> ConnectionEvent:
    """The first of these things that happens."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        for seen in dealer.events():
            if seen in wanted:
                return seen
        dealer.wait(0.01)
    raise AssertionError(f"none of {wanted}")


def attempt(router: Router, security: ClientSecurity | None, wanted: set[ConnectionEvent]) -> ConnectionEvent:
    """Connect with that, try to say something for as long as it takes; what came of it. Nothing may arrive."""
    dealer = Dealer(router.endpoint, security)
    try:
        dealer.send(b"let me in")
        seen = outcome(dealer, wanted)
        assert not dealer.send(b"let me in")
        assert list(router.read()) == []
        return seen
    finally:
        dealer.close()


FAILED = {
    ConnectionEvent.HANDSHAKE_SUCCEEDED,
    ConnectionEvent.AUTHENTICATION_FAILED,
    ConnectionEvent.AUTHENTICATION_UNAVAILABLE,
    ConnectionEvent.MECHANISM_MISMATCH,
    ConnectionEvent.DISCONNECTED_IN_HANDSHAKE,
    ConnectionEvent.HANDSHAKE_TIMED_OUT,
}


def joins(router: Router, door: Door) -> None:
    """Somebody with the right key gets a message through."""
    dealer = Dealer(router.endpoint, door.client)
    try:
        assert (
            outcome(
                dealer,
                {
                    ConnectionEvent.HANDSHAKE_SUCCEEDED,
                    ConnectionEvent.AUTHENTICATION_FAILED,
                    ConnectionEvent.AUTHENTICATION_UNAVAILABLE,
                },
            )
            is ConnectionEvent.HANDSHAKE_SUCCEEDED
        )
        deadline = time.monotonic() + DEADLINE_SECONDS
        assert dealer.send(b"hello")
        while time.monotonic() < deadline:
            for message in router.read():
                assert message[1] == b"hello"
                assert router.user == "somebody"
                return
            router.wait(0.05)
        raise AssertionError("nothing came")
    finally:
        dealer.close()


def test_with_the_right_keys_messages_flow_and_carry_their_users_name(router: Router, door: Door) -> None:
    joins(router, door)
    assert door.turned_away == []


def test_a_random_key_is_turned_away_and_told_from_other_failures(router: Router, door: Door) -> None:
    stranger = new_secret_key()
    assert attempt(router, door.client_with(stranger), FAILED) is ConnectionEvent.AUTHENTICATION_FAILED
    assert door.turned_away == [("127.0.0.1", public_key(stranger), "unknown key")]


def test_a_key_that_was_valid_once_is_turned_away(router: Router, door: Door) -> None:
    joins(router, door)
    door.admitted.clear()
    assert attempt(router, door.client, FAILED) is ConnectionEvent.AUTHENTICATION_FAILED


def test_an_actor_that_expects_another_learner_says_nothing_to_this_one(router: Router, door: Door) -> None:
    wrong = ClientSecurity(public_key(new_secret_key()), door.secret)
    assert attempt(router, wrong, FAILED) is ConnectionEvent.DISCONNECTED_IN_HANDSHAKE
    assert door.asked == 0


def test_without_any_key_nobody_gets_in(router: Router, door: Door) -> None:
    assert (
        attempt(router, None, FAILED - {ConnectionEvent.DISCONNECTED_IN_HANDSHAKE})
        is ConnectionEvent.MECHANISM_MISMATCH
    )
    assert door.asked == 0


@pytest.mark.parametrize("mechanism", ["NULL", pytest.param("PLAIN", marks=pytest.mark.slow)])
def test_other_mechanisms_of_zeromq_are_of_no_use(router: Router, door: Door, mechanism: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as rude:
        rude.linger = 0
        if mechanism == "PLAIN":
            rude.plain_username, rude.plain_password = b"somebody", b"secret"
        monitor = rude.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        rude.connect(router.endpoint)
        rude.send(b"let me in")
        assert monitor.poll(DEADLINE_SECONDS * 1000)
        frames = monitor.recv_multipart()
        assert event_of(frames) == (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
        of_zmq = parse_monitor_message(frames)
        assert event_of(frames) == (of_zmq["event"], of_zmq["value"])
        rude.disable_monitor()
        monitor.close()
    router.wait(0)
    assert list(router.read()) == []
    assert door.asked == 0


def test_an_exception_in_the_check_refuses_and_the_guard_goes_on(router: Router, door: Door) -> None:
    door.broken = RuntimeError
    for _ in range(3):
        assert attempt(router, door.client, FAILED) is ConnectionEvent.AUTHENTICATION_UNAVAILABLE
    assert [str(error) for error in door.failures] == ["the door is broken"] * 3
    door.broken = None
    joins(router, door)
    assert router.guard is not None
    assert router.guard.restarts == 0


@pytest.mark.slow
def test_while_the_guard_is_dead_nobody_gets_in_and_it_is_started_again(
    router: Router, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = router.guard
    assert guard is not None
    dead = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: dead.set())
    door.broken = KeyboardInterrupt  # what no `except Exception` holds up
    dealer = Dealer(router.endpoint, door.client)
    assert dead.wait(DEADLINE_SECONDS)
    door.broken = None
    guard._thread.join()
    assert (
        outcome(
            dealer,
            {
                ConnectionEvent.HANDSHAKE_SUCCEEDED,
                ConnectionEvent.DISCONNECTED_IN_HANDSHAKE,
                ConnectionEvent.HANDSHAKE_TIMED_OUT,
            },
        )
        is not ConnectionEvent.HANDSHAKE_SUCCEEDED
    )
    dealer.close()
    assert attempt(router, door.client, FAILED) is ConnectionEvent.DISCONNECTED_IN_HANDSHAKE
    guard.tend()
    joins(router, door)
    guard.tend()
    assert guard.restarts == 1


def test_a_guard_that_lives_is_left_alone(router: Router, door: Door) -> None:
    assert router.guard is not None
    router.guard.tend()
    assert router.guard.restarts == 0
    joins(router, door)


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://[::]:5555", "tcp://eth0:5555"])
def test_without_keys_a_router_does_not_listen_where_other_hosts_can_reach_it(endpoint: str) -> None:
    with pytest.raises(UsageError, match="other hosts"):
        Router(endpoint, MAX_BLOB_BYTES)


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:{port}", "tcp://*:{port}", "tcp://127.0.0.1:{port}"])
def test_a_router_tells_its_address_in_numbers_and_its_door_is_tested_there(door: Door, bind: str) -> None:
    port = free_port()
    router = Router(bind.format(port=port), MAX_BLOB_BYTES, door.server)
    assert router.address in (f"tcp://{host}:{port}" for host in ("0.0.0.0", "[::]", "127.0.0.1"))
    check_that_unknown_keys_are_refused(router, public_key(door.server_secret))
    router.close()


def test_what_happens_to_a_connection_is_told(tmp_path: Path, door: Door) -> None:
    nobody = Dealer(f"tcp://127.0.0.1:{free_port()}")
    assert outcome(nobody, set(ConnectionEvent)) is ConnectionEvent.NO_LISTENER
    nobody.close()
    nameless = Dealer("tcp://no-such-host.invalid:5555")
    assert outcome(nameless, set(ConnectionEvent)) is ConnectionEvent.NAME_NOT_RESOLVED
    nameless.close()


def test_a_peer_that_speaks_something_else_is_told_from_a_learner() -> None:
    import socket as plain

    with plain.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + b" " * 100)

        thread = threading.Thread(target=serve)
        thread.start()
        door = Door()
        dealer = Dealer(f"tcp://127.0.0.1:{server.getsockname()[1]}", door.client)
        assert outcome(dealer, set(ConnectionEvent) - {ConnectionEvent.TCP_CONNECTED}) is ConnectionEvent.NOT_ZEROMQ
        thread.join()
        dealer.close()


def test_closing_leaves_nothing_behind(door: Door) -> None:
    before = threading.active_count()
    for _ in range(3):
        router = Router(f"tcp://127.0.0.1:{free_port()}", MAX_BLOB_BYTES, door.server)
        dealer = Dealer(router.endpoint, door.client)
        dealer.reconnect()
        dealer.close()
        router.close()
    assert threading.active_count() == before


def test_an_old_libzmq_and_one_without_curve_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    check_library()
    monkeypatch.setattr(zmq, "zmq_version_info", lambda: (4, 3, 4))
    with pytest.raises(UsageError, match=r"4\.3\.5 is needed"):
        check_library()
    monkeypatch.undo()
    monkeypatch.setattr(zmq, "has", lambda _: False)
    with pytest.raises(UsageError, match="without CURVE"):
        Dealer("tcp://127.0.0.1:1")


def test_keys_are_32_bytes_and_a_fingerprint_tells_them_apart() -> None:
    first, second = new_secret_key(), new_secret_key()
    assert {len(first), len(public_key(first))} == {32}
    assert public_key(first) == public_key(first) != public_key(second)
    assert fingerprint(public_key(first)) != fingerprint(public_key(second))


def test_secrets_are_not_in_what_a_traceback_shows(door: Door) -> None:
    assert repr(door.server_secret)[2:-1] not in repr(door.server)
    assert repr(door.secret)[2:-1] not in repr(door.client)
