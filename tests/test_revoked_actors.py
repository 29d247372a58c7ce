"""Actors whose token was revoked, and names that belong to another token: the learner's session and its guard."""

import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from doors import Door

from dppo.learner.session.records import PeerKey, Send, Settings
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.learner.transport.credentials import Access
from dppo.learner.transport.network_thread import Network
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.codec import decode_from_learner, encode
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import EnvSettings, FromLearner, Hello, Reject, Tally, Welcome
from dppo.protocol.security.curve import ClientSecurity
from dppo.protocol.transport.connection_event import ConnectionEvent
from dppo.protocol.transport.dealer import Dealer
from dppo.protocol.transport.router import Router
from scripts.ports import free_port

pytestmark = pytest.mark.timeout(300)  # a busy machine; no wait is longer than processes.DEADLINE_SECONDS
DEADLINE_SECONDS = 30.0


# A peer that stays when it is told to go


def said(name: str, incarnation: bytes) -> Hello:
    return Hello(PROTOCOL_VERSION, PROTOCOL_VERSION, "0", name, incarnation, 1, Tally())


def hello(peer: Dealer) -> None:
    message = said("rude", b"12345678")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not peer.send(encode(message)):
        assert time.monotonic() < deadline
        peer.wait(0.01)


def answer(peer: Dealer) -> FromLearner:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        for header, blob in peer.read():
            return decode_from_learner(header, blob is not None)
        peer.wait(0.05)
    raise AssertionError("no answer")


@pytest.mark.slow
def test_the_connection_of_a_revoked_token_is_shut_though_its_actor_would_stay(tmp_path: Path) -> None:
    access = Access.open(tmp_path, time.time())
    authenticator = TokenAuthenticator(access, wall=time.time, monotonic=time.monotonic)
    router = Router(f"tcp://127.0.0.1:{free_port()}", 1_000_000, authenticator.security())
    settings = Settings("run", 1, EnvSettings("X-v0"), 1, 100, 0, 1, "keep", 10.0, 5.0)
    session = LearnerSession(settings, Ledger(), SlotTable(1))
    network = Network(router, session, lambda _: None, authenticator)
    network.start()
    line = access.announce(router.address.removeprefix("tcp://"), time.time())
    assert line is not None
    with closing(network), closing(Dealer(router.endpoint, ClientSecurity(line.server_key, line.secret))) as rude:
        hello(rude)
        assert isinstance(answer(rude), Welcome)
        assert [peer.token for peer in session.peer_table.peers.values()] == [f"default.{line.token_id.hex()}"]
        access.change(lambda book: book.revoke("default", time.time()))
        refusal = answer(rude)
        assert isinstance(refusal, Reject)
        assert (refusal.code, refusal.fatal) == ("token", True)
        hello(rude)  # on the connection that is still there, or was a moment ago
        deadline = time.monotonic() + DEADLINE_SECONDS
        seen: list[ConnectionEvent] = []
        while ConnectionEvent.AUTHENTICATION_FAILED not in seen:
            assert time.monotonic() < deadline, seen
            seen += rude.events()
            rude.wait(0.05)
        assert seen.index(ConnectionEvent.DISCONNECTED) < seen.index(ConnectionEvent.AUTHENTICATION_FAILED)
        assert session.peer_table.peers == {}
        assert session.ledger.accounts == {}


@pytest.mark.slow
def test_a_dead_guard_is_started_again_by_the_learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    authenticator = TokenAuthenticator(Access.open(tmp_path, time.time()), wall=time.time, monotonic=time.monotonic)
    router = Router(f"tcp://127.0.0.1:{free_port()}", 1_000_000, door.server)
    settings = Settings("run", 1, EnvSettings("X-v0"), 1, 100, 0, 1, "keep", 10.0, 5.0)
    network = Network(router, LearnerSession(settings, Ledger(), SlotTable(1)), lambda _: None, authenticator)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    door.broken = SystemExit
    network.start()
    guard = router.guard
    assert guard is not None
    with closing(network), closing(Dealer(router.endpoint, door.client)) as dealer:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not door.asked:
            assert time.monotonic() < deadline
            dealer.wait(0.02)
        door.broken = None
        seen: list[ConnectionEvent] = []
        while ConnectionEvent.HANDSHAKE_SUCCEEDED not in seen:
            assert time.monotonic() < deadline, seen
            seen += dealer.events()
            dealer.wait(0.02)
        assert guard.restarts == 1


def session_with_an_actor(token: str) -> LearnerSession:
    settings = Settings("run", 1, EnvSettings("X-v0"), 1, 100, 0, 1, "keep", 10.0, 5.0)
    session = LearnerSession(settings, Ledger(), SlotTable(1))
    session.receive(PeerKey(b"a"), said("name", b"aaaaaaaa"), None, 0.0, token)
    assert [peer.token for peer in session.peer_table.peers.values()] == [token]
    return session


def prove_and_join(session: LearnerSession, token: str, now: float) -> None:
    """A living process answers the number that it is given."""
    (answer,) = session.receive(PeerKey(b"b"), said("name", b"bbbbbbbb"), None, now, token)
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Reject)
    again = msgspec.structs.replace(said("name", b"bbbbbbbb"), answer=answer.message.challenge)
    session.receive(PeerKey(b"b"), again, None, now, token)


def test_nobody_takes_the_name_of_an_actor_that_came_by_another_token() -> None:
    session = session_with_an_actor("laptop.1111")
    actions = session.receive(PeerKey(b"b"), said("name", b"bbbbbbbb"), None, 1.0, "desk.2222")
    (reject,) = [action.message for action in actions if isinstance(action, Send)]
    assert isinstance(reject, Reject)
    assert not reject.fatal  # nothing was delivered under that name, so it is not owned for good
    assert "--name" in reject.text
    assert list(session.peer_table.peers) == [PeerKey(b"a")]


def test_after_a_rotation_the_same_name_may_come_by_the_new_secret() -> None:
    session = session_with_an_actor("laptop.1111")
    prove_and_join(session, "laptop.2222", 1.0)
    assert list(session.peer_table.peers) == [PeerKey(b"b")]


def test_a_name_is_free_again_once_its_actor_has_gone() -> None:
    session = session_with_an_actor("laptop.1111")
    session.unreachable(b"a", 1.0)
    session.tick(12.0)  # its last words could have come until now
    session.tick(14.0)
    session.receive(PeerKey(b"b"), said("name", b"bbbbbbbb"), None, 14.0, "desk.2222")
    assert list(session.peer_table.peers) == [PeerKey(b"b")]


def test_those_whose_token_has_ended_are_told_and_their_accounts_closed() -> None:
    session = session_with_an_actor("laptop.1111")
    session.receive(
        PeerKey(b"b"),
        said("other", b"bbbbbbbb"),
        None,
        1.0,
        "",
    )
    assert session.expel(lambda token: True, 2.0) == []
    actions = session.expel(lambda token: False, 2.0)
    assert [action.peer for action in actions if isinstance(action, Send)] == [PeerKey(b"a")], (
        "who needs no token may stay"
    )
    assert list(session.peer_table.peers) == [PeerKey(b"b")]
    assert set(session.ledger.accounts) == {b"bbbbbbbb"}
    assert session.ledger.closed_incarnations == 1
