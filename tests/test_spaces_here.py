"""The learner makes the environment itself where it can: then no actor decides which spaces the run has."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, cast

import msgspec
import pytest
from conversations import hello
from test_network import DeadEnd, no_entry

from dppo.actor.envs.make import make_environments
from dppo.learner import first_actors
from dppo.learner import service as shell
from dppo.learner.config import EnvConfig, LearnerConfig, RunConfig
from dppo.learner.run import Run
from dppo.learner.session.records import PeerKey
from dppo.learner.session.run_spaces import SpacesHere
from dppo.learner.session.session import LearnerSession
from dppo.learner.signals import EndSignals, Interrupted
from dppo.learner.storage.checkpoint_format import document_of
from dppo.learner.storage.run_directory import RunDirectory
from dppo.learner.transport.listener import Listening
from dppo.learner.transport.network_thread import Network
from dppo.local import learner_command
from dppo.local.known_spaces import KNOWN
from dppo.local.spaces_here import check_same_spaces, looking_for_spaces
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.specs import Leaf, Spec, spec_hash
from dppo.protocol.transport.router import Router
from dppo.settings.commands import LearnerProcessConfig
from dppo.settings.layers import Resolved, dump_yaml
from scripts.ports import free_port

CARTPOLE = Spec((Leaf("observation", "<f4", (4,), "box"),), (Leaf("action", "<i8", (), "discrete", categories=2),))
OTHER = Spec((Leaf("observation", "<f4", (5,), "box"),), CARTPOLE.action)
SECONDS = 60.0

Vectorization = Literal["auto", "sync", "async", "native"]


def here(env_id: str, kwargs_json: str = "{}", vectorization: Vectorization = "auto") -> SpacesHere:
    env = EnvSettings(env_id, kwargs_json, vectorization)
    with looking_for_spaces(env, 8) as future:
        return future.result(SECONDS)


def test_the_spaces_are_those_that_an_actor_announces() -> None:
    assert here("CartPole-v1") == SpacesHere(CARTPOLE)


@pytest.mark.slow
@pytest.mark.parametrize("vectorization", ["sync", "native", "async"])
def test_they_are_the_same_however_the_environment_is_vectorised(vectorization: Vectorization) -> None:
    assert here("CartPole-v1", vectorization=vectorization) == SpacesHere(CARTPOLE)


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("env_id", sorted(KNOWN))
def test_they_are_those_of_the_actors_environments(env_id: str) -> None:
    environments = make_environments(EnvSettings(env_id), 3)
    try:
        assert here(env_id).spec == environments.spec
    finally:
        environments.close()


def test_what_cannot_be_made_here_is_one_line_and_no_error() -> None:
    found = here("not_installed_here:Robot-v0")
    assert found.spec is None
    assert "not_installed_here" in found.why_unknown
    assert "\n" not in found.why_unknown


def test_one_environment_does_not_show_the_spaces_of_all_where_they_get_other_arguments() -> None:
    found = here("CartPole-v1", '{"sutton_barto_reward": "{slot}"}')
    assert found.spec is None
    assert "placeholders" in found.why_unknown


def test_nothing_is_waited_for_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeping.py").write_text("import time\ntime.sleep(1000)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    began = time.monotonic()
    with looking_for_spaces(EnvSettings("sleeping:Sleeping-v0"), 8) as future:
        assert not future.done()
    assert time.monotonic() - began < 5


def test_a_run_without_a_checkpoint_waits_for_nothing(tmp_path: Path) -> None:
    with looking_for_spaces(EnvSettings("CartPole-v1"), 8) as future:
        check_same_spaces(tmp_path, future)
        assert not future.done()


def launched(directory: Path, env_id: str) -> Resolved[LearnerProcessConfig]:
    learner = LearnerConfig(env=EnvConfig(id=env_id), run=RunConfig(directory=str(directory)))
    return Resolved(LearnerProcessConfig(learner, bind=f"tcp://127.0.0.1:{free_port()}"), {}, "", False)


def trained_on(spec: Spec, resolved: Resolved[LearnerProcessConfig]) -> None:
    """Leave a run behind that has trained one update."""
    directory = resolved.config.learner.run_directory
    state = {"spec": msgspec.to_builtins(spec), "progress": {"updates": 1}}
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "recent").write_bytes(document_of(1, b"", state) + b"\n")
    (directory / "config.yaml").write_text(dump_yaml(resolved.config))


def start(resolved: Resolved[LearnerProcessConfig]) -> int:
    return learner_command.run(resolved, Listening(resolved.config.bind, "", "", insecure=False, shows_secrets=False))


@pytest.mark.parametrize("is_resumed", [False, True])
def test_the_command_hands_the_spaces_to_its_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_resumed: bool
) -> None:
    handed: list[SpacesHere] = []

    def train(config: LearnerConfig, *, spaces_here: Future[SpacesHere], **_: object) -> None:
        handed.append(spaces_here.result(SECONDS))

    monkeypatch.setattr(shell, "run", train)
    resolved = launched(tmp_path / "run", "Pendulum-v1")
    environments = make_environments(EnvSettings("Pendulum-v1"), 2)
    if is_resumed:
        trained_on(environments.spec, resolved)
    assert start(resolved) == 0
    assert handed == [SpacesHere(environments.spec)]


def test_a_run_that_was_trained_on_other_spaces_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "run", pytest.fail)
    resolved = launched(tmp_path / "run", "CartPole-v1")
    trained_on(OTHER, resolved)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(UsageError, match=r"observation is float32 \(4,\) here, float32 \(5,\) in the run") as caught:
        start(resolved)
    assert "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def join(network: Network, name: str, spec: Spec) -> None:
    """Say HELLO; the answer goes nowhere."""

    def receive(session: LearnerSession) -> None:
        incarnation, run_id = name.ljust(8, "-").encode(), session.settings.run_id
        said = hello(actor=name, incarnation=incarnation, run_id=run_id, spec=spec, spec_hash=spec_hash(spec))
        session.receive(PeerKey(name.encode()), said, None, time.monotonic())

    network.ask(receive)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[tuple[Run, Network, EndSignals]]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    with RunDirectory.open(tmp_path / "run") as directory:
        run = Run(LearnerConfig(), directory, launched_at=0.0)
        network = Network(cast(Router, DeadEnd()), run.session(), no_entry)
        network.start()
        try:
            yield run, network, EndSignals()
        finally:
            network.close()
            for number, handler in before.items():
                signal.signal(number, handler)


def test_a_run_waits_for_an_actor_that_has_its_spaces(table: tuple[Run, Network, EndSignals]) -> None:
    run, network, stop = table
    join(network, "liar", OTHER)
    found: Future[SpacesHere] = Future()
    found.set_result(SpacesHere(CARTPOLE))
    first_actors.settle_spaces(run, network, stop, found)
    assert network.joined == 0
    timer = threading.Timer(0.2, join, (network, "honest", CARTPOLE))
    timer.start()
    assert first_actors.await_spaces(run, network, stop) == CARTPOLE
    assert network.joined == 1
    timer.join()


def test_where_the_environment_cannot_be_made_the_first_actor_counts(
    table: tuple[Run, Network, EndSignals], caplog: pytest.LogCaptureFixture
) -> None:
    run, network, stop = table
    found: Future[SpacesHere] = Future()
    found.set_result(SpacesHere(why_unknown="it is not installed"))
    with caplog.at_level("INFO", "dppo.learner"):
        first_actors.settle_spaces(run, network, stop, found)
    assert caplog.messages == ["the spaces are those that most actors have: it is not installed"]
    join(network, "first", OTHER)
    assert first_actors.await_spaces(run, network, stop) == OTHER


def test_a_signal_ends_the_wait_for_the_environment(table: tuple[Run, Network, EndSignals]) -> None:
    run, network, stop = table
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Interrupted):
        first_actors.settle_spaces(run, network, stop, Future())


def test_spaces_that_fit_into_no_rollout_end_the_learner_before_anybody_joins(
    table: tuple[Run, Network, EndSignals],
) -> None:
    run, network, stop = table
    found: Future[SpacesHere] = Future()
    found.set_result(SpacesHere(Spec((Leaf("observation", "<f4", (2**26,), "box"),), CARTPOLE.action)))
    with pytest.raises(UsageError, match="max_rollout_bytes"):
        first_actors.settle_spaces(run, network, stop, found)
