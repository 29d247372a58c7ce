"""Joining over tcp, with real processes and with a peer that does not keep to the rules."""

import dataclasses
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from doors import Door
from processes import SMALL, Dppo, Place, RunFiles, assert_closes, drops, free_port

from dppo.learner.session.records import Send, Settings
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.learner.transport.credentials import Access
from dppo.learner.transport.network_thread import Network
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.codec import decode_from_learner, encode
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import EnvSettings, FromLearner, Hello, Reject, Tally, Welcome
from dppo.protocol.security.curve import ClientSecurity, new_secret_key, public_key
from dppo.protocol.security.join_line import JoinLine
from dppo.protocol.transport.connection_event import ConnectionEvent
from dppo.protocol.transport.dealer import Dealer
from dppo.protocol.transport.router import Router

pytestmark = pytest.mark.timeout(300)  # a busy machine; no wait is longer than processes.DEADLINE_SECONDS

RUN = "run"
STEPS = 12_000
DEADLINE_SECONDS = 30.0


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as made:
        yield made


def learner(place: Place, port: int, *arguments: str) -> Dppo:
    return place.start(
        "learner",
        *SMALL,
        *place.gated,
        *("--bind", f"tcp://127.0.0.1:{port}", "--run.directory", RUN, "--run.total-steps", str(STEPS)),
        *("--run.checkpoint-seconds", "0", "--evaluation-episodes", "0", *arguments),
    )


def printed_line(place: Place, command: Dppo) -> JoinLine:
    """What the user would copy, out of the file that is named in a log that others may read."""
    place.until(lambda: "dppo actor --join-file " in command.said(), "the file is named", during=command)
    assert "dppo1." not in command.said() + command.complained()
    (said,) = [line for line in command.said().splitlines() if "dppo actor --join-file " in line]
    file = place.path / said.partition("--join-file ")[2].split()[0]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return JoinLine.parse(file.read_text())


def joined(place: Place, command: Dppo, line: JoinLine, name: str) -> Dppo:
    """An actor at work."""
    actor = place.start("actor", "--join", str(line), "--name", name)
    place.until(
        lambda: RunFiles(place.path / RUN).trained_by_actor().get(name, 0) > 0, f"{name} is at work", during=command
    )
    return actor


def error_of(command: Dppo) -> str:
    """The one line that it complained with."""
    assert "Traceback" not in command.complained()
    (line,) = [line for line in command.complained().splitlines() if line.startswith("dppo: error: ")]
    return line.removeprefix("dppo: error: ")


@pytest.mark.slow
def test_the_printed_line_lets_in_and_nothing_else_does(place: Place) -> None:
    port = free_port()
    command = learner(place, port)
    line = printed_line(place, command)
    assert line.address == f"127.0.0.1:{port}"
    access, endpoint = Access(place.path / RUN), f"tcp://127.0.0.1:{port}"
    expired, revoked = new_secret_key(), new_secret_key()
    now = time.time()
    access.change(lambda book: book.add("expired", public_key(expired), now - 100, 50))
    access.change(lambda book: book.add("revoked", public_key(revoked), now))
    access.change(lambda book: book.revoke("revoked", now))
    stranger = dataclasses.replace(line, secret=new_secret_key())
    other_learner = dataclasses.replace(line, server_key=public_key(new_secret_key()))
    refused = {
        "does not accept this token": [
            place.start("actor", "--join", str(dataclasses.replace(line, secret=secret)))
            for secret in (stranger.secret, expired, revoked)
        ],
        "another key than this token expects": [place.start("actor", "--join", str(other_learner))],
        "lets nobody in without a token": [place.start("actor", "--learner", endpoint, "--insecure")],
    }
    good = joined(place, command, line, "good")
    for words, commands in refused.items():
        for one in commands:
            place.ends(one, code=3)
            assert words in error_of(one)
            assert endpoint in error_of(one)
    mistyped = place.start("actor", variables={"DPPO_JOIN": str(line).replace("dppo1.", "dppo1.x", 1)})
    place.ends(mistyped, code=2)
    assert "typing error" in error_of(mistyped)
    place.gate.touch()
    place.ends(command, code=0)
    place.ends(good, code=0)
    said = command.said()
    assert "unknown key" in said
    assert "127.0.0.1, key" in said
    assert "good joined with 4 environments (token default." in said
    ledger = RunFiles(place.path / RUN).ledger()
    assert_closes(ledger)
    assert (ledger["closed_incarnations"], drops(ledger)) == (1, {})


@pytest.mark.slow
def test_a_revoked_token_ends_its_actors_and_no_others(place: Place) -> None:
    files = RunFiles(place.path / RUN)
    command = learner(place, free_port())
    kept = joined(place, command, printed_line(place, command), "kept")
    adding = place.start("token", "add", RUN, "laptop", "--expires", "1d")
    place.ends(adding, code=0)
    sent_away = joined(place, command, JoinLine.parse(adding.said()), "laptop")
    place.ends(place.start("token", "revoke", RUN, "laptop"), code=0)
    place.ends(sent_away, code=3)
    assert "ask for a new line" in error_of(sent_away)
    again = place.start("actor", "--join", adding.said(), "--name", "laptop")
    place.ends(again, code=3)
    updates = files.updates()
    place.until(lambda: files.updates() > updates, "the run goes on", during=command)
    place.gate.touch()
    place.ends(command, code=0)
    place.ends(kept, code=0)
    assert "laptop was sent away: its token laptop." in command.said()
    assert_closes(files.ledger())
    assert drops(files.ledger()).keys() <= {"actor_lost"}


@pytest.mark.slow
def test_a_learner_started_again_prints_the_same_line_and_keeps_no_line_in_its_settings(place: Place) -> None:
    port = free_port()
    lines = []
    for _ in range(2):
        command = learner(place, port)
        lines.append(printed_line(place, command))
        command.process.terminate()
        place.ends(command, code=0)
    assert lines[0] == lines[1]
    assert "dppo1." not in (place.path / RUN / "config.yaml").read_text()


@pytest.mark.slow
def test_an_actor_that_finds_nobody_says_so_and_ends_when_told_to(place: Place) -> None:
    line = JoinLine(bytes(32), bytes(4), new_secret_key(), f"127.0.0.1:{free_port()}")
    actor = place.start("actor", "--join", str(line))
    place.until(lambda: "no learner answers" in actor.complained(), "it says what it waits for", during=actor)
    missing = place.start("actor", "--join-file", "not/there")
    place.until(lambda: "not/there is not there yet" in missing.complained(), "so does the other", during=missing)
    for command in (actor, missing):
        command.process.terminate()
        place.ends(command, code=0)


@pytest.mark.slow
def test_without_keys_only_who_asks_for_it_joins(place: Place) -> None:
    port = free_port()
    endpoint = f"tcp://127.0.0.1:{port}"
    command = learner(place, port, "--insecure")
    place.until(lambda: "listening" in command.said(), "it listens", during=command)
    assert "whoever is on this machine may join" in command.said()
    line = JoinLine(public_key(new_secret_key()), bytes(4), new_secret_key(), f"127.0.0.1:{port}")
    careful = place.start("actor", "--join", str(line))
    open_ = place.start("actor", "--learner", endpoint, "--insecure", "--name", "open")
    place.ends(careful, code=3)
    assert "not encrypted" in error_of(careful)
    place.gate.touch()
    place.ends(command, code=0)
    place.ends(open_, code=0)
    assert not (place.path / RUN / "access").exists()


@pytest.mark.slow
def test_a_line_is_written_to_a_file_instead_of_being_printed(place: Place) -> None:
    file = place.path / "shared" / "line"
    file.parent.mkdir()
    file.parent.chmod(0o2770)
    actor = place.start("actor", "--join-file", str(file))
    command = learner(place, free_port(), "--write-join-file", str(file))
    place.gate.touch()
    place.ends(command, code=0)
    place.ends(actor, code=0)
    assert file.stat().st_mode & 0o777 == 0o640
    assert "dppo1." not in command.said() + command.complained()


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
        for header, blob in peer.receive():
            return decode_from_learner(header, blob is not None)
        peer.wait(0.05)
    raise AssertionError("no answer")


def test_the_connection_of_a_revoked_token_is_shut_though_its_actor_would_stay(tmp_path: Path) -> None:
    access = Access.open(tmp_path, time.time())
    gate = TokenAuthenticator(access, wall=time.time, monotonic=time.monotonic)
    router = Router(f"tcp://127.0.0.1:{free_port()}", 1_000_000, gate.security())
    settings = Settings("run", 1, EnvSettings("X-v0"), 1, 100, 0, 1, "keep", 10.0, 5.0)
    session = LearnerSession(settings, Ledger(), SlotTable(1))
    network = Network(router, session, lambda _: None, gate)
    network.start()
    line = access.announce(router.address.removeprefix("tcp://"), time.time())
    assert line is not None
    with closing(network), closing(Dealer(router.endpoint, ClientSecurity(line.server_key, line.secret))) as rude:
        hello(rude)
        assert isinstance(answer(rude), Welcome)
        assert [peer.token for peer in session.peers.values()] == [f"default.{line.token_id.hex()}"]
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
        assert session.peers == {}
        assert session.ledger.accounts == {}


def test_a_dead_guard_is_started_again_by_the_learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    gate = TokenAuthenticator(Access.open(tmp_path, time.time()), wall=time.time, monotonic=time.monotonic)
    router = Router(f"tcp://127.0.0.1:{free_port()}", 1_000_000, door.server)
    settings = Settings("run", 1, EnvSettings("X-v0"), 1, 100, 0, 1, "keep", 10.0, 5.0)
    network = Network(router, LearnerSession(settings, Ledger(), SlotTable(1)), lambda _: None, gate)
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
    session.receive(b"a", said("name", b"aaaaaaaa"), None, 0.0, token)
    assert [peer.token for peer in session.peers.values()] == [token]
    return session


def prove_and_join(session: LearnerSession, token: str, now: float) -> None:
    """A living process answers the number that it is given."""
    (answer,) = session.receive(b"b", said("name", b"bbbbbbbb"), None, now, token)
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Reject)
    again = msgspec.structs.replace(said("name", b"bbbbbbbb"), answer=answer.message.challenge)
    session.receive(b"b", again, None, now, token)


def test_nobody_takes_the_name_of_an_actor_that_came_by_another_token() -> None:
    session = session_with_an_actor("laptop.1111")
    actions = session.receive(b"b", said("name", b"bbbbbbbb"), None, 1.0, "desk.2222")
    (reject,) = [action.message for action in actions if isinstance(action, Send)]
    assert isinstance(reject, Reject)
    assert not reject.fatal  # nothing was delivered under that name, so it is not owned for good
    assert "--name" in reject.text
    assert list(session.peers) == [b"a"]


def test_after_a_rotation_the_same_name_may_come_by_the_new_secret() -> None:
    session = session_with_an_actor("laptop.1111")
    prove_and_join(session, "laptop.2222", 1.0)
    assert list(session.peers) == [b"b"]


def test_a_name_is_free_again_once_its_actor_has_gone() -> None:
    session = session_with_an_actor("laptop.1111")
    session.unreachable(b"a", 1.0)
    session.tick(12.0)  # its last words could have come until now
    session.tick(14.0)
    session.receive(b"b", said("name", b"bbbbbbbb"), None, 14.0, "desk.2222")
    assert list(session.peers) == [b"b"]


def test_those_whose_token_has_ended_are_told_and_their_accounts_closed() -> None:
    session = session_with_an_actor("laptop.1111")
    session.receive(
        b"b",
        said("other", b"bbbbbbbb"),
        None,
        1.0,
        "",
    )
    assert session.expel(lambda token: True, 2.0) == []
    actions = session.expel(lambda token: False, 2.0)
    assert [action.peer for action in actions if isinstance(action, Send)] == [b"a"], "who needs no token may stay"
    assert list(session.peers) == [b"b"]
    assert set(session.ledger.accounts) == {b"bbbbbbbb"}
    assert session.ledger.closed_incarnations == 1
