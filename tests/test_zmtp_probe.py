"""The mechanism that a port announces, found out without any key."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from doors import Door

from dppo.protocol.security.zmtp_probe import mechanism_at
from dppo.protocol.transport.router import Router
from scripts.ports import free_port

# What a port is


@contextmanager
def serving(answer: bytes) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_port_says_what_it_is_without_any_key() -> None:
    for mechanism, security in (("CURVE", Door().server), ("NULL", None)):
        with closing(Router(f"tcp://127.0.0.1:{free_port()}", 1000, security)) as router:
            for _ in range(20):
                assert mechanism_at(router.endpoint, 10.0) == mechanism


@pytest.mark.parametrize("answer", [b"", b"\xff", b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 64])
def test_what_does_not_speak_zeromq_is_nothing(answer: bytes) -> None:
    with serving(answer) as endpoint:
        assert mechanism_at(endpoint, 10.0) == ""


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:1", "tcp://no-such-host.invalid:1", "ipc:///tmp/x"])
def test_where_nobody_is_there_is_nothing(endpoint: str) -> None:
    assert mechanism_at(endpoint, 10.0) == ""
