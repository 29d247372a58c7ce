"""`dppo up --on ray` on a real cluster of three nodes, all on this machine; skipped where ray is not installed."""

import json
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from deployments import SETTINGS, Deployed, eventually

if TYPE_CHECKING:
    from ray_nodes import Nodes


@pytest.fixture
def nodes(request: pytest.FixtureRequest) -> "Iterator[Nodes]":
    """As many nodes as the test's parameter says."""
    pytest.importorskip("ray", reason="needs ray (extra ray)")
    from ray_nodes import Nodes

    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets have short names only
    made = Nodes(folder, request.param)
    yield made
    made.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def deployed(tmp_path: Path, nodes: "Nodes", monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    for name, value in nodes.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))  # logs of actors
    with socket.create_server(("127.0.0.1", 0)) as probe:
        bind = f"bind: tcp://127.0.0.1:{probe.getsockname()[1]}\n"
    deploy = f"deploy: {{engine: ray, ray_address: '{nodes.address}'}}\n"
    made = Deployed(tmp_path, (SETTINGS + bind + deploy).replace("actors: 1", "actors: 3"))
    yield made
    made.kill_all()


def hosts(deployed: Deployed) -> set[str]:
    """Nodes of the actors that run."""
    found = deployed.processes().items()
    return {process["host"] for name, process in found if name != "learner" and process["state"] == "running"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("nodes", [3], indirect=True)
def test_ray_spreads_actors_over_the_nodes_and_starts_again_what_is_killed(deployed: Deployed) -> None:
    assert "6 cores free" in deployed.dppo("up", "run.yaml", "--actors", "9", code=2)
    assert deployed.left() == []

    deployed.dppo("up", "run.yaml")
    names = {"learner", "actor-0", "actor-1", "actor-2"}
    eventually("all run", lambda: deployed.running() == names)
    assert len(hosts(deployed)) > 1, "they are spread"
    eventually("it trains", lambda: deployed.updates() > 1)
    assert deployed.shown_secrets() == []
    assert "already" in deployed.dppo("up", "run.yaml", code=2)

    (victim,) = [process for process in deployed.left() if "actor-1" in process.cmdline()]
    holder = victim.parent()
    assert holder is not None
    holder.send_signal(signal.SIGKILL)
    eventually("it is started again", lambda: deployed.processes()["actor-1"]["restarts"] == 1)
    eventually("it is back under its name", lambda: deployed.running() == names)

    deployed.dppo("scale", "2")
    assert deployed.running() == names - {"actor-2"}
    assert "joined the learner" in deployed.dppo("logs", "--process", "actor-0", "--lines", "1000")
    deployed.dppo("down")
    eventually("nothing is left", lambda: deployed.left() == [])
    assert "joined the learner" in deployed.dppo("logs", "runs/x", "--process", "actor-0", "--lines", "1000")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("nodes", [1], indirect=True)
def test_two_learners_train_to_the_end_of_a_run_which_leaves_the_cluster(deployed: Deployed) -> None:
    wanted = ("--actors", "2", "--learners", "2", "--run.total-steps", "4096", "--deploy.actor-cpus", "0")
    deployed.dppo("up", "run.yaml", *wanted)
    eventually("it is over", lambda: "the run is over" in deployed.dppo("ps", "runs/x"))
    eventually("nothing is left", lambda: deployed.left() == [])
    assert json.loads((deployed.folder / "runs" / "x" / "ledger.json").read_bytes())["closed_incarnations"] == 2
    assert "actor-1 ends" in deployed.dppo("logs", "runs/x", "--process", "actor-1")
    deployed.dppo("down")
