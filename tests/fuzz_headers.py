"""Hostile headers for the codec and, where they pass, for a learner's session: only ProtocolError may come of them.

python -m tests.fuzz_headers --count 1000000 [--seed N]     mutations of honest messages
python -m tests.fuzz_headers --atheris [-runs=1000000 ...]  guided by coverage (pip install 'dppo[fuzz]')
"""

import argparse
import copy
import gc
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType
from typing import Any

import msgpack

from dppo.learner.session.records import PeerKey, Settings
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.protocol import PROTOCOL_VERSION, messages
from dppo.protocol.codec import MAX_HEADER_BYTES, decode_from_actor, decode_from_learner, encode, enveloped, opened
from dppo.protocol.errors import ProtocolError
from dppo.protocol.ledger import Ledger, imbalance
from dppo.protocol.messages import (
    Ack,
    Bye,
    EnvSettings,
    Have,
    Hello,
    Message,
    Nack,
    Part,
    Ping,
    Policy,
    Pong,
    Reject,
    Rollout,
    Stop,
    Stopped,
    Tally,
    TimeShares,
    Welcome,
    Who,
)  # fmt: skip
from dppo.protocol.specs import Leaf, Spec, spec_hash

SPEC = Spec(
    observation=(Leaf("observation", "<f4", (3,), "box"),),
    action=(Leaf("action", "<i8", (), "discrete", categories=2),),
)
ENV = EnvSettings("CartPole-v1")
SPOKEN = (PROTOCOL_VERSION, PROTOCOL_VERSION)
HELLO = Hello(*SPOKEN, "0.1", "host-1", b"12345678", 2, Tally(), "run", 1, 1, spec_hash(SPEC), SPEC)
HONEST: tuple[Message, ...] = (
    HELLO, Hello(*SPOKEN, "0.1", "host-2", b"abcdefgh", 0, Tally(3, 30, 2, 20, 1)), Have(1, 1, 0.01),
    Rollout(1, 1, 1, 4, 2, 0, 0, 8), Stopped(1, 1, Tally(1, 8), 0.001), Ping(1.5, Tally(1, 8), TimeShares(0.1)),
    Bye("done", Tally(1, 8)), Ack(3, 8), Nack(3, "stale"), Pong(1.5), Who(), Stop(1, 1, 5.0),
    Part(1, 1, 0), Policy(1, 1, b"d" * 16, 64), Reject("full", "later", fatal=False),
    Welcome(1, "run", 1, ENV, 2, 0, 1, 0, 0, 8, 10.0, 1.0, "keep"), messages.RelayHello(*SPOKEN, "0.1", "relay-1"),
)  # fmt: skip
STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 2**64 - 1, -(2**63), 1e308, float("nan"), float("inf"), "", "\ud7ff", "x" * 3000, b"",
    b"\0" * 65, [], [[[[]]]], [0] * 3000, {}, {"a": 1}, {1: 2}, msgpack.ExtType(5, b"x"), msgpack.Timestamp(1), "Hello",
)  # fmt: skip
NUMBERS = (0, 1, 1, 2, 2, 3, 4, 7, 8, 16, 255, 65536, 65537, 2**24, 2**31, 2**53)
SETTINGS = Settings(
    run_id="run", term=1, env=ENV, envs_per_actor=2, batch_steps=16, segment_steps=4, seed=1, on_stop="keep",
    lease_seconds=10.0, stop_grace_seconds=1.0, max_actors=8, actors_per_relay=2,
)  # fmt: skip


@dataclass
class Result:
    """What became of all headers."""

    headers: int = 0
    slowest_seconds: float = 0.0
    grown_bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # of those that passed; "refused" of the others

    def __str__(self) -> str:
        passed = self.headers - self.kinds["refused"]
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.kinds.most_common())
        return (
            f"{self.headers} headers, {passed} passed, slowest {1e3 * self.slowest_seconds:.1f} ms, "
            f"memory +{self.grown_bytes / 2**20:.1f} MiB: {kinds}"
        )


def mutated(draw: random.Random) -> bytes:
    """A header that was honest once, some of them in an envelope that may be damaged, too."""
    header = _mutated(draw)
    if draw.randrange(8):
        return header
    whole = enveloped(header, draw.choice((HELLO.incarnation, b"abcdefgh")))
    return whole if draw.randrange(4) else bytes_mutated(draw, whole)


def _mutated(draw: random.Random) -> bytes:
    header = encode(draw.choice(HONEST))
    how = draw.randrange(8)
    if how < 3:
        return bytes_mutated(draw, header)
    if how == 3:
        return draw.randbytes(draw.randrange(64))
    if how == 4:
        other = encode(draw.choice(HONEST))
        return header[: draw.randrange(len(header) + 1)] + other[draw.randrange(len(other)) :]
    fields = msgpack.unpackb(header, raw=False)
    if how > 5:
        return bytes(msgpack.packb(_varied(draw, fields)))
    for _ in range(draw.randrange(1, 3)):
        _change(draw, fields)
    return bytes(msgpack.packb(fields, default=str, unicode_errors="surrogatepass"))


def bytes_mutated(draw: random.Random, header: bytes) -> bytes:
    """With some bytes changed, left out, doubled or cut off."""
    data = bytearray(header)
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(data) + 1)
        match draw.randrange(5):
            case 0 if at < len(data):
                data[at] = draw.randrange(256)
            case 1:
                data[at:at] = draw.randbytes(draw.randrange(5))
            case 2:
                del data[at : at + draw.randrange(4)]
            case 3:
                del data[at:]
            case _ if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
    return bytes(data)


def _change(draw: random.Random, fields: list[Any]) -> None:
    """One field, at some depth, is something strange."""
    while True:
        if not fields:
            fields.append(copy.deepcopy(draw.choice(STRANGE)))
            return
        at = draw.randrange(len(fields))
        if not isinstance(fields[at], list) or draw.random() < 0.4:
            break
        fields = fields[at]
    match draw.randrange(4):
        case 0:
            del fields[at]
        case 1:
            fields.insert(at, copy.deepcopy(draw.choice(STRANGE)))
        case _:
            fields[at] = copy.deepcopy(draw.choice(STRANGE))


def _changed(draw: random.Random, fields: list[Any]) -> list[Any]:
    _change(draw, fields)
    return fields


def _varied(draw: random.Random, fields: list[Any]) -> list[Any]:
    """Of the same shape, with other numbers: these pass the codec."""
    return [
        _varied(draw, value)
        if isinstance(value, list)
        else draw.choice(NUMBERS)
        if type(value) is int and draw.random() < 0.3
        else value
        for value in fields
    ]


class Target:
    """A codec and a learner's session behind it, as the network thread drives them."""

    def __init__(self) -> None:
        self.result = Result()
        self._now = 100.0
        self._renew()

    def _renew(self) -> None:
        self.session = LearnerSession(SETTINGS, Ledger(), SlotTable(), SPEC)
        self._peers = [PeerKey(b"%d" % number) for number in range(5)]
        self._version = 1
        self.session.receive(self._peers[0], HELLO, None, self._now)
        assert self._peers[0] in self.session.peer_table.peers, (
            "an honest HELLO is no longer one: nothing behind it would be met"
        )
        self.session.publish(1, b"graph", self._now)

    def throw(self, header: bytes, *, blob: bytes | None, peer: int = 0) -> None:
        """Anything but a refusal ends the test: it would have ended the learner."""
        started = time.perf_counter()
        kind = "refused"
        try:
            if len(header) <= MAX_HEADER_BYTES:
                decode_from_learner(header, blob is not None)
        except ProtocolError:
            pass
        incarnation, inner = opened(header)
        key = PeerKey(self._peers[peer].connection, incarnation)
        try:
            message = decode_from_actor(inner, blob is not None)
            kind = type(message).__name__
            self.session.receive(key, message, blob, self._now)
        except ProtocolError as error:
            self.session.violation(key, error, self._now)
        self._now += 0.02
        self.session.tick(self._now)
        result = self.result
        result.headers += 1
        result.kinds[kind] += 1
        result.slowest_seconds = max(result.slowest_seconds, time.perf_counter() - started)
        if result.headers % 5000 == 0:
            wrong = imbalance(self.session.ledger.accounts.values())
            assert not wrong, wrong
            self._renew()


def fuzz(count: int, seed: int) -> Result:
    """Throw so many; raises what the code under test raised, with the header in a note."""
    draw, target = random.Random(seed), Target()
    for _ in range(min(count, 2000)):  # whatever is imported and cached late
        target.throw(mutated(draw), blob=None)
    before = _memory_bytes()
    for _ in range(max(0, count - 2000)):
        header = mutated(draw)
        blob = draw.choice((None, None, b"", bytes(40), bytes(200)))
        peer = draw.randrange(5)
        try:
            target.throw(header, blob=blob, peer=peer)
        except BaseException as error:
            error.add_note(f"header {header.hex()}, blob {blob!r}")
            raise
    target.result.grown_bytes = _memory_bytes() - before
    return target.result


def _memory_bytes() -> int:  # the most that this process ever took
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def guided(arguments: Sequence[str]) -> None:
    """Let Atheris look for headers that reach new code, from the honest ones on; never returns."""
    import atheris

    for found in gc.get_objects():  # ours only: all that is imported, PyTorch with it, takes two minutes
        if isinstance(found, FunctionType) and (found.__module__ or "").startswith("dppo."):
            atheris.instrument_func(found)
    target = Target()

    def throw(data: bytes) -> None:
        target.throw(data, blob=bytes(40) if len(data) % 3 else None)
        if target.result.headers % 50_000 == 0:  # at its end Atheris leaves without a word of Python's
            print(target.result, flush=True)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        """Half of the time as a header: bytes alone hardly ever become another one that can be read."""
        draw = random.Random(seed)
        if draw.random() < 0.5:
            with suppress(Exception):
                fields = msgpack.unpackb(data, raw=False, strict_map_key=False)
                change = _varied if draw.random() < 0.5 else _changed
                return bytes(msgpack.packb(change(draw, fields)))[:max_size]
        return bytes(atheris.Mutate(data, max_size))

    with TemporaryDirectory() as corpus:
        for number, message in enumerate(HONEST):
            (Path(corpus) / str(number)).write_bytes(encode(message))
        atheris.Setup(
            ["fuzz_headers", corpus, *arguments],
            throw,
            custom_mutator=mutate,
        )
        atheris.Fuzz()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true", help="guided by coverage; further flags are libFuzzer's")
    chosen, rest = parser.parse_known_args()
    if chosen.atheris:
        guided(rest)
    started = time.perf_counter()
    result = fuzz(chosen.count, chosen.seed)
    print(f"{result}; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
