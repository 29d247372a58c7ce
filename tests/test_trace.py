"""Traces of sessions: what is in them, where they end, and what the reader and the doctor make of them."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from simulation import Simulation, learner_of
from traced_worlds import World

from dppo.actor.session.session import ActorSession
from dppo.actor.session.traced_session import TracedActorSession, new_session
from dppo.cli import main
from dppo.learner.session.records import PeerKey
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.traced_session import TracedLearnerSession
from dppo.local.log_files import tracing
from dppo.ops.doctor.run_files import traces
from dppo.ops.trace_reader import TraceEvent, events_of, expect, figures_of
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.messages import EnvSettings, Hello, Nack, Policy, Reject, Tally, Welcome
from dppo.protocol.process import trace_file
from dppo.protocol.process.trace_file import TraceFile
from dppo.protocol.trace import Record, Trace

WELCOME = Welcome(
    *(5, "run", 1, EnvSettings("X-v0", '{"key": "private"}'), 2, 0, 1, 0, 0, 0, 10.0, 1.0, "keep"),
)


@pytest.fixture
def traced(world: Simulation, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(world, monkeypatch)


def test_both_sides_of_an_update_are_recorded_in_order(traced: World) -> None:
    actor = traced.world.start("a")
    traced.world.run_until_updates(2)
    expect(
        traced.of(actor),
        *("connected", "sent Hello", "received Welcome", "environments ready", "sent Hello", "received Welcome"),
        *("received Policy", "load", "state running", "sent Have", "sealed", "sent Rollout", "received Ack"),
        *("received Stop", "sent Stopped", "received Policy", "sent Have", "sealed"),
    )
    of_learner = traced.of_learner()
    expect(of_learner, "received Hello", "sent Welcome", "sent Policy", "received Have", "received Rollout", peer="a")
    expect(
        of_learner,
        *("publish", "state collecting", "state stopping", "state updating", "publish", "state collecting"),
    )


def test_every_message_is_recorded_once_on_both_sides(traced: World) -> None:
    """Also those that a method called by another one returns."""
    actor = traced.world.start("a")
    traced.world.run_until_updates(2)
    traced.world.exchange()
    up = [event.text.split()[1] for event in traced.of(actor) if event.event == "sent"]
    down = [event.text.split()[1] for event in traced.of_learner() if event.event == "sent"]
    assert up == [event.message for event in traced.of_learner() if event.event == "received"]
    assert down == [event.message for event in traced.of(actor) if event.event == "received"]


def test_a_lost_connection_is_recorded_on_both_sides(traced: World) -> None:
    actor = traced.world.start("a")
    traced.world.run_until_updates(1)
    traced.world.cut(actor, lose_up=True, noticed=True)
    connection = b"peer-0"
    traced.world._do(learner_of(traced.world).unreachable(connection, traced.world.now))
    traced.world.attach(actor)
    actor.driver.connected()
    traced.world._flush(actor)
    traced.world.run_until_updates(1)
    expect(traced.of(actor), "connected", "sent Rollout", "connected", "sent Hello", "received Welcome", "sent Rollout")
    assert [event.peer for event in traced.of_learner() if event.event == "gone"] == ["a"]


def test_a_wait_for_credit_is_recorded_with_its_length(traced: World) -> None:
    actor = traced.world.start("a")
    traced.world.run_until_updates(1)
    for _ in range(40):  # nothing that it sends arrives
        traced.world.step(actor, 100)
        actor.driver.tick()
        traced.world.now += 0.05
    traced.world.calm(4)
    (waits,) = [event for event in traced.of(actor) if event.text == "waits no credit"]
    waited = next(event for event in traced.of(actor) if event.event == "waited" and event.fields["for"] == "no credit")
    assert waited.fields["seconds"] == pytest.approx(waited.time - waits.time)
    assert waited.fields["seconds"] > 1.0


def test_a_violation_is_recorded_and_what_follows_from_it(traced: World) -> None:
    traced.world.start("a")
    traced.world.run_until_updates(1)
    learner = learner_of(traced.world)
    for _ in range(3):
        learner.violation(PeerKey(b"peer-0"), ProtocolError("a header\x1b[2J that cannot be read"), traced.world.now)
    found = expect(traced.of_learner(), "violation", "violation", "violation", "disconnect", peer="a")
    assert found[0].fields == {"what": "a header [2J that cannot be read"}


def test_what_one_method_returns_through_another_is_recorded_once(traced: World) -> None:
    """A violation within a message, and a policy that is damaged."""
    actor = traced.world.start("a")
    traced.world.run_until_updates(1)
    session, learner, now = actor.session, learner_of(traced.world), traced.world.now
    session.receive(Policy(1, 99, bytes(16), 8), b"damaged", now)
    assert [event.event for event in traced.of(actor)][-4:] == ["received", "unusable", "state", "note"]
    other = Hello(PROTOCOL_VERSION, PROTOCOL_VERSION, "test", "b", b"another!", 0, Tally())
    for _ in range(3):  # a connection is of one incarnation
        learner.receive(PeerKey(b"peer-0"), other, None, now)
    events = [event for event in traced.of_learner() if event.event in ("violation", "disconnect", "note")]
    assert [event.event for event in events].count("disconnect") == 1
    notes = [event.fields["text"] for event in events if event.event == "note"]
    assert len(notes) == len(set(notes)), notes


def test_a_record_holds_no_blob_no_nested_record_and_no_challenge() -> None:
    records: list[Record] = []
    trace = Trace(records.append, lambda: 1.5)
    trace.message("received", "joining", WELCOME, None)
    trace.message("sent", "collecting", Reject("superseded", "two\nlines", fatal=False, challenge=7), None, peer="a")
    trace.message("sent", "running", Nack(3, "stale"), b"12345")
    first, second, third = records
    assert first["fields"]["lease_seconds"] == 10.0
    assert "private" not in json.dumps(first)
    assert second == {
        "time": 1.5,
        "event": "sent",
        "state": "collecting",
        "peer": "a",
        "message": "Reject",
        "fields": {"code": "superseded", "text": "two lines", "fatal": False, "retry_after_seconds": 1.0},
    }
    assert third["fields"]["blob_bytes"] == 5


def test_without_a_trace_the_sessions_are_the_plain_ones(tmp_path: Path) -> None:
    assert type(new_session(None, actor="a", envs=0)) is ActorSession
    with tracing("", "actor") as nothing:
        assert nothing is None


def filled(path: Path, events: int, max_bytes: int) -> None:
    with TraceFile(path, "actor", max_bytes=max_bytes) as file:
        for number in range(events):
            file.trace.event(f"number {number}", "running", fields={"text": "x" * 100})


def test_a_full_file_ends_with_a_line_that_says_so_and_the_trace_goes_on_in_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.trace.jsonl"
    filled(path, 100, 8000)
    before = path.with_name("a.trace.jsonl.1")
    assert before.stat().st_size <= 8000
    assert path.stat().st_size <= 8000
    assert json.loads(before.read_text().splitlines()[-1])["event"] == "full"
    assert json.loads(path.read_text().splitlines()[0])["event"] == "goes on"
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, before.name]
    texts = [event.event for event in events_of(path)]
    assert texts[-2:] == ["number 99", "end"]
    numbers = [int(text.split()[1]) for text in texts if text.startswith("number")]
    assert numbers == list(range(numbers[0], 100))


def test_records_beyond_what_may_wait_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_file, "MAX_WAITING", 10)
    monkeypatch.setattr(trace_file, "WRITE_SECONDS", 60.0)
    filled(tmp_path / "a.trace.jsonl", 30, 10**6)
    (gap,) = [event for event in events_of(tmp_path / "a.trace.jsonl") if event.event == "left out"]
    assert gap.fields == {"records": 22}  # the first line and nine numbers are there, the last line is not
    assert figures_of(tmp_path / "a.trace.jsonl").left_out == 22


def test_a_disk_that_is_full_ends_the_trace_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(descriptor: int, content: Any) -> int:
        raise OSError(28, os.strerror(28))

    with TraceFile(tmp_path / "a.trace.jsonl", "actor") as file:
        monkeypatch.setattr(trace_file.os, "write", full)
        file.trace.event("lost", "running")
        until = time.monotonic() + 5.0
        while not file._is_over and time.monotonic() < until:
            time.sleep(0.01)
        file.trace.event("not kept", "running")
        assert not file._waiting
    assert "No space left" in caplog.text


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        TraceFile(tmp_path / "missing" / "trace", "actor")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="cannot be written"):
        TraceFile(tmp_path / "link", "actor")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="cannot be written"):
        TraceFile(tmp_path / "pipe", "actor")
    with (
        TraceFile(tmp_path / "taken", "actor"),
        pytest.raises(UsageError, match="is being written by another process"),
    ):
        TraceFile(tmp_path / "taken", "learner")
    assert (tmp_path / "taken").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("command", ["learner", "actor"])
def test_the_commands_refuse_it_with_exit_code_2(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    join = ("--env", "CartPole-v1") if command == "learner" else ("--learner", "ipc://nowhere")
    with pytest.raises(SystemExit) as end:
        main([command, *join, "--trace", "missing/trace"])
    assert end.value.code == 2
    assert "trace missing/trace cannot be written: No such file or directory. Choose another" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_expect_names_what_is_missing() -> None:
    events = [TraceEvent(0.0, "sent", "joining", message="Hello"), TraceEvent(1.0, "state", "waiting")]
    assert expect(events, "sent Hello", "state waiting") == events
    with pytest.raises(AssertionError, match=r"no 'sent Hello' after \['state waiting'\], only \[\]"):
        expect(events, "state waiting", "sent Hello")


def test_the_doctor_says_what_traces_show(tmp_path: Path, traced: World) -> None:
    logs = tmp_path / "logs"
    assert traces(logs) == []
    actor = traced.world.start("a")
    traced.world.run_until_updates(1)
    head = {"time": 0.0, "event": "begin", "state": "", "fields": {"side": "actor"}}
    again = {"time": 1.0, "event": "connected", "state": "running"}
    wait = {"time": 5.0, "event": "waits", "state": "running", "fields": {"for": "no credit"}}
    cut_off = {"time": 12.5, "event": "received", "state": "running", "message": "Nack"}
    learner = {**head, "fields": {"side": "learner"}}
    gone = [{"time": 2.0, "event": "gone", "state": "collecting", "peer": name} for name in ("a", "b")]
    bye = {"time": 1.9, "event": "received", "state": "collecting", "peer": "b", "message": "Bye"}
    logs.mkdir()
    of_actor = [head, *traced.actors["a"], again, wait, cut_off]
    (logs / "actor-0.trace.jsonl").write_text("\n".join(map(json.dumps, of_actor)) + '\n{"time": 13.0, "ev')
    (logs / "learner.trace.jsonl").write_text("\n".join(map(json.dumps, [learner, bye, *gone])))
    assert [finding.line for finding in traces(logs)] == [
        "ok      trace: learner: 1 connections lost, 0 actors rejected, 0 rollouts refused, 0 violations",
        "ok      trace: actors, 1 traced: 1 reconnects (actor-0 1), longest wait for credit 7.5 s (actor-0), rejects 0",
    ]
    assert actor.alive


def test_a_run_in_one_process_writes_both_traces(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ("--run.total-steps", "256", "--collect.batch-steps", "64", "--ppo.minibatch-steps", "64")
    with pytest.raises(SystemExit) as end:
        main(
            [
                *("train", "--preset", "none", "--env", "CartPole-v1", "--actors", "0", "--trace", *flags),
                *("--run.directory", str(tmp_path / "run"), "--evaluation-episodes", "0", "--run.tensorboard", "false"),
            ]
        )
    assert end.value.code == 0, capfd.readouterr().err
    learner = list(events_of(tmp_path / "run" / "logs" / "learner.trace.jsonl"))
    actor = list(events_of(tmp_path / "run" / "logs" / "actor-0.trace.jsonl"))
    expect(learner, "begin", "received Hello", "publish", "state updating", "finish", "received Bye", "end")
    expect(actor, "begin", "connected", "sent Rollout", "received Bye", "state over", "sent Bye", "exit", "end")


@pytest.mark.parametrize(
    ("plain", "recording"), [(LearnerSession, TracedLearnerSession), (ActorSession, TracedActorSession)]
)
def test_whatever_makes_a_session_act_is_recorded(plain: type[Any], recording: type[Any]) -> None:
    acts = plain.tick.__annotations__["return"]
    methods = {
        name
        for name, method in vars(plain).items()
        if not name.startswith("_") and getattr(method, "__annotations__", {}).get("return") == acts
    }
    assert {"tick", "receive"} <= methods
    assert methods - vars(recording).keys() == set()


def test_a_stop_of_several_learners_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    with Simulation(learners=2) as world:
        traced = World(world, monkeypatch)
        world.start("a")
        world.run_until_updates(2)
        expect(traced.of_learner(), "publish", "state collecting", "sent Stop", "received Stopped", "publish")
