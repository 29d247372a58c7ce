"""The learner behind real sockets, with peers that misbehave beside one that does not. The clock is a number."""

import socket as plain
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pytest
import zmq
from simulated_actor import SPEC
from simulated_settings import RUN_ID, SETTINGS

from dppo.learner.session.byte_budget import Budget
from dppo.learner.session.flow_control import CREDIT, LEAST_TOTAL_BYTES, UNKNOWN_PEER_BYTES
from dppo.learner.session.rate_limit import BURST_MESSAGES, MAX_STRIKES
from dppo.learner.session.records import Action, Kick, Note, PeerKey, Send
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.transport.ingress_guard import ANSWERS, KICK_SECONDS, IngressGuard
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.codec import decode_from_learner, encode, enveloped
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import (
    Ack,
    FromActor,
    FromLearner,
    Hello,
    Nack,
    Ping,
    Policy,
    Reject,
    Rollout,
    Tally,
    TimeShares,
    Welcome,
    Who,
)
from dppo.protocol.specs import spec_hash
from dppo.protocol.transport.router import Router
from scripts.ports import free_port

DEADLINE_SECONDS = 20.0
T = TypeVar("T")


class Bench:
    """A session behind an ingress guard behind a router, turned by hand."""

    def __init__(self, endpoint: str) -> None:
        self.router = Router(endpoint, 10**6)
        self.session = LearnerSession(replace(SETTINGS, lease_seconds=1e9), Ledger(), SlotTable())
        self.ingress_guard = IngressGuard(self.router, self.session, None)
        self.now = 100.0
        self.notes: list[str] = []

    def turn(self) -> None:
        self.router.wait(0.02)
        for actions in self.ingress_guard.arrivals(lambda: self.now):
            self.act(actions)
        self.act(self.ingress_guard.tick(self.now))

    def act(self, actions: "list[Action]") -> None:
        for action in actions:
            match action:
                case Send():
                    self.ingress_guard.sending(action)
                    connection, incarnation = action.peer
                    if not self.router.send(connection, enveloped(encode(action.message), incarnation), action.blob):
                        self.act(self.ingress_guard.unsendable(connection, self.now))
                case Kick():
                    self.ingress_guard.kick(action, self.now)
                case Note():
                    self.notes.append(action.text)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(f"tcp://127.0.0.1:{free_port()}")
    yield made
    made.router.close()


class Peer:
    """Whoever connects: says what it is told to."""

    def __init__(self, bench: Bench, context: "zmq.Context[zmq.Socket[bytes]]", name: str) -> None:
        self.bench = bench
        self.name = name
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.reconnect_ivl = -1
        self.socket.connect(bench.router.endpoint)
        self.heard: list[FromLearner] = []

    def say(self, message: FromActor, blob: bytes | None = None) -> None:
        self.socket.send_multipart([encode(message)] if blob is None else [encode(message), blob])

    def hello(self) -> None:
        incarnation = self.name.encode().ljust(8, b".")
        tally = Tally()
        protocol = PROTOCOL_VERSION
        self.say(
            Hello(protocol, protocol, "test", self.name, incarnation, 2, tally, RUN_ID, 0, 0, spec_hash(SPEC), SPEC)
        )

    def listen(self) -> None:
        while self.socket.poll(0):
            header, *blob = self.socket.recv_multipart()
            if header:
                self.heard.append(decode_from_learner(header, bool(blob)))

    def until(self, found: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            self.bench.turn()
            self.listen()
            result = found()
            if result is not None:
                return result
        raise AssertionError(f"{self.name} heard {self.heard}; notes: {self.bench.notes}")

    def hear(self, kind: type[T]) -> T:
        return self.until(lambda: next((message for message in self.heard if isinstance(message, kind)), None))

    @property
    def id(self) -> bytes:
        return self.key.connection

    @property
    def key(self) -> PeerKey:
        return next(key for key, peer in self.bench.session.peer_table.peers.items() if peer.actor == self.name)


@pytest.fixture
def peers(bench: Bench) -> Iterator[Callable[[str], Peer]]:
    context = zmq.Context()
    made: list[Peer] = []

    def make(name: str) -> Peer:
        made.append(Peer(bench, context, name))
        return made[-1]

    yield make
    for peer in made:
        peer.socket.close(linger=0)
    context.term()


Make = Callable[[str], Peer]
PING = Ping(1.0, Tally(), TimeShares())


def joined(peer: Peer) -> Peer:
    peer.hello()
    peer.hear(Welcome)
    return peer


def is_gone(bench: Bench, id_: bytes) -> Callable[[], bool | None]:
    return lambda: None if bench.router.send(id_, encode(Who())) else True


def test_a_flood_of_valid_messages_ends_in_a_kick_and_others_go_on(bench: Bench, peers: Make) -> None:
    rude, polite = joined(peers("rude")), joined(peers("polite"))
    id_ = rude.id
    for _ in range(3 * int(BURST_MESSAGES)):
        rude.say(PING)
    assert rude.hear(Reject).fatal
    assert [peer.actor for peer in bench.session.peer_table.peers.values()] == ["polite"]
    bench.now += KICK_SECONDS
    rude.until(is_gone(bench, id_))
    assert bench.router.send(polite.id, encode(Who()))
    assert bench.session.refused_messages == 1  # all that followed was not looked at


def test_a_message_of_many_frames_ends_in_a_kick_at_once(bench: Bench, peers: Make) -> None:
    rude = joined(peers("rude"))
    id_ = rude.id
    rude.socket.send_multipart([b"x"] * 1000)
    assert "frames" in rude.hear(Reject).text
    bench.now += KICK_SECONDS
    rude.until(is_gone(bench, id_))
    rude.until(lambda: True if len(bench.session.peer_table.peer_limits) == 0 else None)


def test_a_few_unreadable_messages_are_borne_before_the_kick(bench: Bench, peers: Make) -> None:
    rude = joined(peers("rude"))
    for strike in range(MAX_STRIKES):
        assert bench.session.peer_table.peers, strike
        rude.socket.send(b"\xc1")
        rude.until(lambda strike=strike: True if bench.session.refused_messages > strike else None)
    assert not bench.session.peer_table.peers
    rude.hear(Reject)


def test_a_flood_of_hello_ends_in_a_kick(bench: Bench, peers: Make) -> None:
    rude = joined(peers("rude"))
    for _ in range(int(BURST_MESSAGES)):
        rude.hello()
    rude.hear(Reject)
    assert not bench.session.peer_table.peers


def test_a_stranger_that_floods_is_asked_once_and_kicked(bench: Bench, peers: Make) -> None:
    rude = peers("rude")
    for _ in range(3 * int(BURST_MESSAGES)):
        rude.say(PING)
    rude.hear(Reject)
    assert sum(isinstance(message, Who) for message in rude.heard) == 1


def test_many_versions_in_an_instant_are_no_flood(bench: Bench) -> None:
    policy = Policy(0, 1, bytes(16), 1)
    bench.session.peer_table.peer_limits.spend(PeerKey(b"honest"), bench.now)
    for _ in range(1000):
        bench.ingress_guard.sending(Send(PeerKey(b"honest"), policy))
        for _ in range(ANSWERS):
            bench.session.peer_table.peer_limits.spend(PeerKey(b"honest"), bench.now)


def test_rollouts_beyond_credit_are_refused_and_their_sender_kicked(bench: Bench, peers: Make) -> None:
    rude = joined(peers("rude"))
    bench.act(bench.session.publish(1, b"graph", bench.now))
    rude.hear(Policy)
    bench.session.peer_table.peers[rude.key].credit_upto = 0
    bench.session.cycle.batch.bytes = bench.session.budget.total_bytes()  # and no more is given
    for seq in (1, 2):
        rude.say(Rollout(seq, SETTINGS.term, 1, 1, 2, 0, 0, 2), b"x")
    rude.hear(Reject)
    assert [message.seq for message in rude.heard if isinstance(message, Nack)] == [1, 2]
    assert not bench.session.peer_table.peers


def test_credit_is_withheld_while_too_many_bytes_wait_for_the_update_and_given_afterwards(
    bench: Bench, peers: Make
) -> None:
    honest = joined(peers("honest"))
    session = bench.session
    bench.act(session.publish(1, b"graph", bench.now))
    session.cycle.batch.bytes = session.budget.total_bytes()
    peer = session.peer_table.peers[honest.key]
    bench.act([session.rollouts.ack(peer)])
    assert honest.hear(Ack).credit == 0
    assert peer.credit_upto == CREDIT  # of WELCOME: what was given is not taken back
    peer.account.watermark = 3
    honest.heard.clear()
    session.cycle.batch.begin_next()
    bench.act(session._credit_withheld(peer))
    assert honest.hear(Ack) == Ack(3, CREDIT)
    assert session._credit_withheld(peer) == []


def test_what_may_wait_unread_follows_from_credit_and_the_largest_honest_rollout(bench: Bench, peers: Make) -> None:
    session = bench.session
    assert session.budget.allowed_bytes(None) == UNKNOWN_PEER_BYTES
    honest = joined(peers("honest"))
    assert UNKNOWN_PEER_BYTES < session.budget.allowed_bytes(honest.id) < 10 * UNKNOWN_PEER_BYTES
    assert session.budget.allowed_bytes(b"nobody") == session.budget.allowed_bytes(None)
    assert session.budget.total_bytes() == LEAST_TOTAL_BYTES
    limited = Budget(replace(session.settings, max_ingress_bytes=12345), session.peer_table)
    assert limited.total_bytes() == 12345


def test_who_sends_megabytes_that_nobody_can_read_yet_is_disconnected_and_named(bench: Bench, peers: Make) -> None:
    if not hasattr(plain, "TCP_INFO"):
        pytest.skip("only Linux says how many bytes a connection received")
    rude, polite = joined(peers("rude")), joined(peers("polite"))
    id_ = rude.id
    rude.socket.send_multipart([bytes(10**6)] * 300, copy=False)
    rude.until(is_gone(bench, id_))
    assert any("rude was disconnected" in note for note in bench.notes)
    assert bench.router.send(polite.id, encode(Who()))


def test_a_connection_that_ends_is_noticed_without_sending_anything(bench: Bench, peers: Make) -> None:
    brief = joined(peers("brief"))
    brief.socket.close(linger=0)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while bench.session.peer_table.peers and time.monotonic() < deadline:
        bench.turn()
    assert not bench.session.peer_table.peers
    assert any("gone" in note for note in bench.notes)
