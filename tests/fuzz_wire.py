"""Hostile messages and raw garbage over the wire at a learner's network thread in a process of its own.

    python -m tests.fuzz_wire --messages 100000 --connections 2000 [--seed N]

An honest actor is there all the time and measures how long its PING is unanswered; another joins afterwards.
"""

import argparse
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import zmq

from scripts.ports import free_port

sys.path.insert(0, str(Path(__file__).parent))  # also when it runs as a module

from fuzz_headers import HELLO, SETTINGS, SPEC, mutated

from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.transport.network_thread import Network
from dppo.protocol.codec import decode_from_learner, encode
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import FromLearner, Hello, Ping, Pong, Tally, TimeShares, Welcome
from dppo.protocol.transport.router import Router

DEADLINE_SECONDS = 60.0
PEERS_AT_ONCE = 200
MESSAGES_EACH = 5  # a few more than are borne
MAX_BLOB_BYTES = 10**6
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x26\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"


@dataclass(frozen=True)
class Outcome:
    """What the honest ones saw."""

    messages: int  # that were sent
    refused: int  # by the learner, after a look; it does not look at what follows a kick
    connections: int
    longest_silence_seconds: float  # of the learner, for an actor that was there
    join_seconds: float  # of another one, afterwards
    grown_bytes: int  # memory of the learner's process, after the storm
    alive: bool

    def __str__(self) -> str:
        return (
            f"{self.messages} messages ({self.refused} refused), {self.connections} raw connections: longest silence "
            f"{self.longest_silence_seconds:.2f} s, joined afterwards in {self.join_seconds:.2f} s, memory "
            f"+{self.grown_bytes / 2**20:.1f} MiB, {'alive' if self.alive else 'DEAD'}"
        )


def serve(endpoint: str) -> None:
    """The learner: until standard input ends."""
    router = Router(endpoint, MAX_BLOB_BYTES)
    session = LearnerSession(replace(SETTINGS, max_actors=100), Ledger(), SlotTable(), SPEC)
    session.peer_table.spaces.is_settled = True  # or the peers' mutated spaces would be a majority
    network = Network(router, session, lambda entry: None)
    network.start()
    print("listening", flush=True)
    network.publish_and_wait(1, bytes(10_000))
    sys.stdin.read()
    network.close()  # raises what ended the thread
    print(session.refused_messages, flush=True)


class Honest:
    """An actor that joins and says PING."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, name: str) -> None:
        self._socket = context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(endpoint)
        self._hello = replace_hello(name)

    def join(self) -> float:
        """Seconds until WELCOME."""
        started = time.monotonic()
        while time.monotonic() - started < DEADLINE_SECONDS:
            self._socket.send(encode(self._hello))
            if any(isinstance(message, Welcome) for message in self._heard(0.5)):
                return time.monotonic() - started
        raise AssertionError("nobody answered HELLO")

    def ping(self) -> float:
        """Seconds until PONG."""
        started = time.monotonic()
        self._socket.send(encode(Ping(started, Tally(), TimeShares())))
        other = []
        while time.monotonic() - started < DEADLINE_SECONDS:
            for message in self._heard(0.05):
                if isinstance(message, Pong):
                    return time.monotonic() - started
                other.append(message)
        raise AssertionError(f"nobody answered PING; heard {other}")

    def _heard(self, seconds: float) -> Iterator[FromLearner]:
        if self._socket.poll(int(1000 * seconds)):
            header, *blob = self._socket.recv_multipart()
            yield decode_from_learner(header, bool(blob))

    def close(self) -> None:
        self._socket.close(linger=0)


def replace_hello(name: str) -> Hello:
    """An honest HELLO of that name."""
    fields = {field: getattr(HELLO, field) for field in HELLO.__struct_fields__}
    return Hello(**{**fields, "actor": name, "incarnation": name.encode().ljust(8, b".")[:8]})


@contextmanager
def learner() -> Iterator[tuple[str, psutil.Process, Callable[[], int]]]:
    """Where it serves, its process, and what ends it and tells how much it refused."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = {sys.path!r}; import fuzz_wire as f; f.serve({endpoint!r})",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"

        def end() -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            refused = process.stdout.readline()
            assert process.wait(DEADLINE_SECONDS) == 0, "the learner's process failed"
            return int(refused)

        try:
            yield endpoint, psutil.Process(process.pid), end
        finally:
            process.kill()


def storm(messages: int, connections: int, seed: int = 1) -> Outcome:
    """Everything at once, then a look at what is left."""
    draw = random.Random(seed)
    with learner() as (endpoint, process, end), zmq.Context() as context:
        honest = Honest(context, endpoint, "honest")
        honest.join()
        for _ in range(20):
            honest.ping()
        before = process.memory_info().rss
        ending, silences = threading.Event(), [0.0]

        def watch() -> None:
            while not ending.wait(0.1):  # ten a second: less than what counts as a flood
                silences.append(honest.ping())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            said = _say(endpoint, messages, draw)
            raw = _scribble(endpoint, connections, draw)
        finally:
            ending.set()
            watcher.join()
        honest.close()
        alive = process.is_running()
        late = Honest(context, endpoint, "late")
        joined = late.join()
        late.close()
        grown = process.memory_info().rss - before
        return Outcome(said, end(), raw, max(silences), joined, grown, alive)


def _say(endpoint: str, messages: int, draw: random.Random) -> int:
    """Mutated messages of several authorised peers, who come back when they are sent away."""
    said = 0
    while said < messages:
        context = zmq.Context()
        sockets = [context.socket(zmq.DEALER) for _ in range(PEERS_AT_ONCE)]
        for one in sockets:
            one.linger = 0
            one.sndtimeo = 1000
            one.connect(endpoint)
        try:
            for _ in range(MESSAGES_EACH):
                for one in sockets:
                    frames = [mutated(draw), *([draw.randbytes(draw.randrange(300))] if draw.random() < 0.4 else [])]
                    if draw.random() < 0.002:
                        frames = [b""] * draw.randrange(3, 2000)
                    with suppress(zmq.Again):
                        one.send_multipart(frames)
                        said += 1
        finally:
            for one in sockets:
                one.close(linger=200)
            context.term()  # waits for that
    return said


def _scribble(endpoint: str, connections: int, draw: random.Random) -> int:
    """Connections of plain TCP that say anything but ZMTP, or begin with it."""
    address = ("127.0.0.1", int(endpoint.rpartition(":")[2]))
    open_: list[socket.socket] = []
    for _ in range(connections):
        with suppress(OSError):
            one = socket.create_connection(address, 5)
            open_.append(one)
            one.settimeout(0.5)
            match draw.randrange(6):
                case 0:
                    one.sendall(draw.randbytes(draw.randrange(1, 3000)))
                case 1:
                    one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                case 2:
                    one.sendall(GREETING + draw.randbytes(draw.randrange(2000)))
                case 3:
                    one.sendall(GREETING + b"\x06" + struct.pack(">Q", draw.randrange(2**63)) + bytes(1000))
                case 4:
                    one.sendall(GREETING + READY + draw.randbytes(draw.randrange(2000)))
                case _:
                    pass  # says nothing
        if len(open_) > 100:
            for one in open_[:50]:
                one.close()
            del open_[:50]
    for one in open_:
        one.close()
    return connections


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    started = time.monotonic()
    print(f"{storm(chosen.messages, chosen.connections, chosen.seed)}; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
