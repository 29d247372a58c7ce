"""What a connection has sent and nobody was given yet: the arithmetic, and over real connections."""

import os
import random
import socket as plain
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import zmq

from dppo.protocol.errors import ProtocolError
from dppo.protocol.transport.connections import IDLE_TIMEOUT_LOW_FDS_SECONDS, IDLE_TIMEOUT_SECONDS
from dppo.protocol.transport.router import Router
from dppo.protocol.transport.unread_bytes import Excess, Holding, Meter, excess
from scripts.ports import free_port

MEGABYTE = 10**6
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how many bytes a connection received")


def test_nothing_read_means_everything_is_held() -> None:
    meter = Meter()
    assert meter.held(500) == 500
    meter.message(200)
    assert meter.held(500) == 300


def test_overhead_that_is_never_handed_on_does_not_add_up() -> None:
    meter, received = Meter(), 0
    for _ in range(1000):
        received += 150  # 100 of a message, 50 of heartbeats
        meter.message(100)
        assert meter.held(received) <= 150
        meter.all_read(received)


def test_a_message_that_began_before_the_mark_leaves_no_credit_behind() -> None:
    meter = Meter()
    meter.message(10)
    meter.all_read(10)
    assert meter.held(10) == 0
    meter.all_read(9_010)  # 9,000 bytes of the next message are there
    meter.message(10_000)
    assert meter.held(10_010) == 0
    assert meter.held(10_510) == 500


def test_what_is_held_is_never_underestimated_by_more_than_one_message() -> None:
    draw = random.Random(0)
    for _ in range(300):
        meter, received, unread, longest = Meter(), 0, [], 0
        partial = 0
        for _ in range(100):
            action = draw.choice(("complete", "partial", "overhead", "read", "mark"))
            size = draw.randrange(1, 1000)
            if action == "complete":
                received += size
                unread.append(size + partial)
                partial = 0
                longest = max(longest, unread[-1])
            elif action == "partial":
                received += size
                partial += size
            elif action == "overhead" and not partial:
                received += size % 30
            elif action == "read" and unread:
                meter.message(unread.pop(0))
            elif action == "mark":
                while unread:
                    meter.message(unread.pop(0))
                meter.held(received)
                meter.all_read(received)
            held = sum(unread) + partial
            assert meter.held(received) >= held - max(longest, partial)


def test_those_above_their_own_limit_go_then_the_largest_until_the_sum_fits() -> None:
    holdings = [Holding(1, 50, 40), Holding(2, 30, 40), Holding(3, 20, 40), Holding(4, 10, 40)]
    assert [h.key for h in excess(holdings, 1000)] == [1]
    assert [h.key for h in excess(holdings, 60)] == [1]
    assert [h.key for h in excess(holdings, 59)] == [1, 2]
    assert [h.key for h in excess(holdings, 29)] == [1, 2, 3]
    assert [h.key for h in excess(holdings, 0)] == [1, 2, 3, 4]
    assert excess([], 0) == []


@pytest.fixture
def router() -> Iterator[Router]:
    made = Router(f"tcp://127.0.0.1:{free_port()}", 64 * MEGABYTE)
    yield made
    made.close()


def watch(router: Router, until: float, allowed_bytes: int, total_bytes: int = 10**12) -> list[Excess]:
    """Read and measure as the learner does, until something was ended."""
    while time.monotonic() < until:
        router.wait(0.05)
        for _ in router.read():
            pass
        ended = router.end_excess(lambda peer: allowed_bytes, total_bytes, 0.0)
        if ended:
            return ended
    return []


FLOOD = """
import sys, zmq
context = zmq.Context()
dealer = context.socket(zmq.DEALER)
dealer.linger = 0
dealer.connect(sys.argv[1])
frame = bytes(10**6)
dealer.send(b"hello")
dealer.send_multipart([frame] * 600, copy=False)
sys.stdin.read()
"""


KEPT_BYTES = 100 * MEGABYTE  # of the 600: what the allocator holds back depends on the tests that ran before


@LINUX
def test_600_megabytes_in_one_message_end_the_connection_and_are_freed(router: Router) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    with subprocess.Popen([sys.executable, "-c", FLOOD, router.endpoint], stdin=subprocess.PIPE) as hostile:
        (ended,) = watch(router, time.monotonic() + 30, 10 * MEGABYTE)
        peak = process.memory_info().rss
        assert hostile.stdin is not None
        hostile.stdin.close()
    assert ended.held_bytes > ended.allowed_bytes
    assert peak - before < 400 * MEGABYTE
    deadline = time.monotonic() + 10
    while process.memory_info().rss - before > KEPT_BYTES and time.monotonic() < deadline:
        router.wait(0.05)
    assert process.memory_info().rss - before < KEPT_BYTES


@LINUX
def test_an_honest_peer_is_never_ended_however_much_it_sends_in_all(router: Router) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as honest:
        honest.linger = 0
        honest.connect(router.endpoint)
        received = 0
        until = time.monotonic() + 60
        for _ in range(300):
            honest.send_multipart([b"rollout", bytes(100_000)])
            honest.send(b"ping")
        while received < 600 and time.monotonic() < until:
            router.wait(0.05)
            received += sum(not isinstance(message[1], ProtocolError) for message in router.read())
            assert router.end_excess(lambda peer: 40 * MEGABYTE, 10**12, 0.0) == []
        assert received == 600
        router.read()
        for _ in range(20):  # one at a time, as credit has it: nothing adds up
            honest.send_multipart([b"rollout", bytes(100_000)])
            assert watch(router, time.monotonic() + 0.02, 250_000) == []


@LINUX
def test_a_stranger_that_never_speaks_the_protocol_is_ended_too(router: Router) -> None:
    with plain.create_connection(("127.0.0.1", int(router.endpoint.rpartition(":")[2]))) as stranger:
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
        stranger.sendall(greeting + b"\x06" + struct.pack(">Q", 60 * MEGABYTE))  # a command of 60 MB begins
        stranger.sendall(bytes(300_000))
        (ended,) = watch(router, time.monotonic() + 10, 65536)
        assert ended.peer is None
        stranger.settimeout(10)
        with suppress(ConnectionError):  # reset, where it was still sending; time-out, where nobody ended it
            while stranger.recv(4096):
                pass


@LINUX
def test_many_small_hoards_together_are_too_much_as_well(router: Router) -> None:
    strangers = [plain.create_connection(("127.0.0.1", int(router.endpoint.rpartition(":")[2]))) for _ in range(10)]
    try:
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
        for n, stranger in enumerate(strangers):
            stranger.sendall(greeting + b"\x06" + struct.pack(">Q", 60 * MEGABYTE) + bytes(50_000 + 1000 * n))
        ended = watch(router, time.monotonic() + 10, MEGABYTE, total_bytes=300_000)
        assert ended
        assert all(one.held_bytes > 40_000 for one in ended)
        assert len(ended) < 10
    finally:
        for stranger in strangers:
            stranger.close()


def test_an_address_within_this_machine_is_not_measured(tmp_path: Path) -> None:
    router = Router(f"ipc://{tmp_path}/s", MEGABYTE)
    with zmq.Context() as context, context.socket(zmq.DEALER) as honest:
        honest.linger = 0
        honest.connect(router.endpoint)
        honest.send(b"hello" + os.urandom(1000))
        assert watch(router, time.monotonic() + 0.2, 0, 0) == []
    router.close()


def test_who_never_says_anything_is_ended_after_a_while_and_who_spoke_is_not(router: Router) -> None:
    address = ("127.0.0.1", int(router.endpoint.rpartition(":")[2]))
    with zmq.Context() as context, context.socket(zmq.DEALER) as quiet, plain.create_connection(address) as old:
        quiet.linger = 0
        quiet.connect(router.endpoint)
        quiet.send(b"hello")
        old.sendall(
            b"\x01\x00" + b"\x04\x00abc"
        )  # ZMTP 1.0: an anonymous peer and a message, of which nothing is known
        heard = []
        deadline = time.monotonic() + 10
        while len(heard) < 2 and time.monotonic() < deadline:
            router.wait(0.02)
            heard += [message[1] for message in router.read()]
        assert sorted(heard) == [b"abc", b"hello"]
        router.end_excess(lambda peer: MEGABYTE, MEGABYTE, 100.0)
        router.end_excess(lambda peer: MEGABYTE, MEGABYTE, 100.0 + IDLE_TIMEOUT_SECONDS + 1)
        old.settimeout(10)
        with suppress(ConnectionError):
            while old.recv(4096):
                pass
        quiet.send(b"still here")
        assert next(iter(watch_for(router)))[1] == b"still here"


@pytest.mark.parametrize(("room", "ends"), [pytest.param(2, True, marks=pytest.mark.slow), (3, False)])
def test_where_files_run_short_who_says_nothing_is_ended_soon(
    router: Router, monkeypatch: pytest.MonkeyPatch, room: int, ends: bool
) -> None:
    monkeypatch.setattr("dppo.protocol.transport.router.connections_that_fit", lambda: room)
    address = ("127.0.0.1", int(router.endpoint.rpartition(":")[2]))
    with zmq.Context() as context, context.socket(zmq.DEALER) as quiet:
        quiet.linger = 0
        quiet.connect(router.endpoint)
        quiet.send(b"hello")
        assert next(iter(watch_for(router)))[1] == b"hello"
        with plain.create_connection(address) as one, plain.create_connection(address) as other:
            for idle in (one, other):
                idle.settimeout(10)
                assert idle.recv(10)  # its greeting: libzmq has accepted the connection
            router.read()
            router.end_excess(lambda peer: MEGABYTE, MEGABYTE, 100.0)
            router.end_excess(lambda peer: MEGABYTE, MEGABYTE, 100.0 + IDLE_TIMEOUT_LOW_FDS_SECONDS + 0.1)
            for idle in (one, other):
                idle.settimeout(10 if ends else 0.2)
                with suppress(ConnectionError) if ends else pytest.raises(TimeoutError):
                    while idle.recv(4096):
                        pass
        quiet.send(b"still here")
        assert next(iter(watch_for(router)))[1] == b"still here"


def watch_for(router: Router) -> list[tuple[bytes, object]]:
    """The next messages."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        router.wait(0.02)
        if found := [(message[0], message[1]) for message in router.read()]:
            return found
    return []
