"""`dppo up --on local`: detached processes that a supervisor starts again, scales and ends."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import Deployed, eventually


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    made = Deployed(tmp_path)
    yield made
    made.kill_all()


@pytest.mark.slow
def test_it_goes_on_by_itself_scales_replaces_the_dead_and_leaves_nothing(deployed: Deployed) -> None:
    assert "runs/x is up on local: 1 learner, 1 actor" in deployed.dppo("up", "run.yaml")
    eventually("it trains", lambda: deployed.updates() > 1)

    assert deployed.shown_secrets() == []

    assert "1 -> 2 actors" in deployed.dppo("scale", "2")
    eventually("both run", lambda: deployed.running() == {"learner", "actor-0", "actor-1"})

    (victim,) = [process for process in deployed.left() if "actor-1" in process.cmdline()]
    victim.send_signal(signal.SIGKILL)
    eventually("it is started again", lambda: deployed.processes()["actor-1"]["restarts"] == 1)
    assert "joined the learner" in deployed.dppo("logs", "--process", "actor-0", "--lines", "1000")
    assert "is up already" in deployed.dppo("up", "run.yaml", code=2)

    assert "is down" in deployed.dppo("down")
    assert deployed.left() == []
    assert "is down already" in deployed.dppo("scale", "runs/x", "3", code=2)
    assert "joined the learner" in deployed.dppo("logs", "--process", "actor-0", "--lines", "1000")


@pytest.mark.slow
def test_what_follows_training_is_told_while_it_goes_on(deployed: Deployed) -> None:
    more = ("--run.total-steps", "512", "--evaluation-episodes", "1000000", "--evaluation-seconds", "1000")
    deployed.dppo("up", "run.yaml", *more)
    eventually("it evaluates", lambda: "it evaluates 1000000 episodes" in deployed.dppo("ps", "runs/x"))
    assert "training has ended at" in deployed.dppo("ps", "runs/x")
    deployed.dppo("down")
    assert deployed.left() == []


@pytest.mark.slow
def test_a_port_in_use_is_one_line_and_nothing_stays(deployed: Deployed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = deployed.dppo("up", "run.yaml", "--bind", f"tcp://127.0.0.1:{taken.getsockname()[1]}", code=2)
    assert "Address already in use" in said
    assert len(said.splitlines()) == 1
    assert [path.name for path in deployed.folder.iterdir()] == ["run.yaml"]
    assert deployed.left() == []
