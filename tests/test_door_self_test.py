"""The learner's test of its own door: passes, and finds it open, unlocked or without keys."""

from collections.abc import Iterator

import pytest
import zmq
from doors import Door

import dppo.protocol.security.curve
from dppo.protocol.errors import DppoError
from dppo.protocol.security.curve import new_secret_key, public_key
from dppo.protocol.security.self_test import check_that_unknown_keys_are_refused
from dppo.protocol.transport.router import Router
from scripts.ports import free_port

MAX_BLOB_BYTES = 100_000


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def router(door: Door) -> Iterator[Router]:
    made = Router(f"tcp://127.0.0.1:{free_port()}", MAX_BLOB_BYTES, door.server)
    yield made
    made.close()


def test_the_test_of_our_own_door_passes_and_is_no_news(router: Router, door: Door) -> None:
    check_that_unknown_keys_are_refused(router, public_key(door.server_secret))
    assert door.asked == 1
    assert door.turned_away == []


def test_the_test_of_our_own_door_finds_it_open(router: Router, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "_admit", lambda *_: dppo.protocol.security.curve.Admitted("anybody"))
    careless = Router(f"tcp://127.0.0.1:{free_port()}", MAX_BLOB_BYTES, door.server)
    with pytest.raises(DppoError, match="random key was not refused") as caught:
        check_that_unknown_keys_are_refused(careless, public_key(door.server_secret))
    assert caught.value.exit_code == 1
    careless.close()


def test_the_test_of_our_own_door_finds_one_without_a_lock(door: Door) -> None:
    """CURVE without a guard: what one gets who forgets ZAP_DOMAIN or ZAP_ENFORCE_DOMAIN."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.linger = 0
        socket.curve_server = 1
        socket.curve_secretkey = door.server_secret
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        open_listener = Router.__new__(Router)
        open_listener._socket, open_listener._guard = socket, None
        assert open_listener.address == f"tcp://127.0.0.1:{port}"
        with pytest.raises(DppoError, match="messages flow"):
            check_that_unknown_keys_are_refused(open_listener, public_key(door.server_secret))


def test_the_test_of_our_own_door_finds_one_without_keys() -> None:
    plain = Router(f"tcp://127.0.0.1:{free_port()}", MAX_BLOB_BYTES)
    with pytest.raises(DppoError, match="random key was not refused"):
        check_that_unknown_keys_are_refused(plain, public_key(new_secret_key()))
    plain.close()
