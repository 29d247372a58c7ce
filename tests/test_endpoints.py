"""Endpoints: which are accepted, and which of them other hosts reach."""

import pytest

from dppo.protocol.errors import UsageError
from dppo.protocol.transport.endpoints import check_endpoint, leaves_this_machine
from dppo.protocol.transport.router import Router

MAX_BLOB_BYTES = 100_000


@pytest.mark.parametrize(
    "good",
    ["tcp://127.0.0.1:5555", "tcp://host.example:1", "tcp://[::1]:65535", "tcp://*:5555", "ipc:///tmp/x", "ipc://x"],
)
def test_an_endpoint_that_zeromq_and_we_speak_is_taken_as_it_is(good: str) -> None:
    assert check_endpoint(good) == good


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "localhost:5555",
        "udp://host:5555",
        "inproc://x",
        "http://host:80",
        "tcp://host",
        "tcp://host:",
        "tcp://:5555",
        "tcp://host:port",
        "tcp://host:65536",
        "tcp://host:-1",
        "tcp://host:5555/path",
        "tcp://[::1:5555",
        "ipc://",
        "ipc:///" + "x" * 200,
        "ipc:///" + "ä" * 60,
    ],
)
def test_what_is_no_endpoint_is_refused_in_one_line_before_any_socket_is_made(bad: str) -> None:
    for refuse in (check_endpoint, lambda endpoint: Router(endpoint, MAX_BLOB_BYTES)):
        with pytest.raises(UsageError) as caught:
            refuse(bad)
        assert "\n" not in str(caught.value)
        assert bad in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "leaves"),
    [
        ("tcp://127.0.0.1:5555", False),
        ("tcp://[::1]:5555", False),
        ("tcp://localhost:5555", False),
        ("ipc:///tmp/learner", False),
        ("tcp://0.0.0.0:5555", True),
        ("tcp://192.0.2.7:5555", True),
    ],
)
def test_an_address_that_other_hosts_reach_is_told_from_one_of_this_machine(endpoint: str, leaves: bool) -> None:
    assert leaves_this_machine(endpoint) is leaves
