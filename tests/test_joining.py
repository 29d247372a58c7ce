"""Joining over tcp, with real processes."""

import dataclasses
import stat
import time
from collections.abc import Iterator

import pytest
from processes import SMALL, Dppo, Place, RunFiles, assert_closes, drops

from dppo.learner.transport.credentials import Access
from dppo.protocol.security.curve import new_secret_key, public_key
from dppo.protocol.security.join_line import JoinLine
from scripts.ports import free_port

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
        "admits no actor without a token": [place.start("actor", "--learner", endpoint, "--insecure")],
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
    assert "laptop was disconnected: its token laptop." in command.said()
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
    assert "every process of this machine may join" in command.said()
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
