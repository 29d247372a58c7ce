"""The engine ray without a cluster and without Ray: refusals in one line, and what is asked of stand-ins."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import failed, forget_variables

from dppo.deploy import ray_driver, ray_engine
from dppo.deploy.engine import Deployment
from dppo.deploy.log_ends import added_to, end_of
from dppo.deploy.supervised import Status, write_status
from dppo.protocol.errors import UsageError


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    (tmp_path / "deploy").mkdir()
    return Deployment("ray", "x", str(tmp_path), 2, 1, 0.0)


def test_without_ray_it_is_one_line_and_nothing_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    forget_variables(monkeypatch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = failed(capsys, "up", "--env", "CartPole-v1", "--on", "ray", "--actors", "2")
    assert said == "the engine ray needs ray, which is not installed here: pip install 'dppo[ray]'"
    assert list(tmp_path.iterdir()) == []


def test_an_address_where_nothing_listens_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(ray_driver.GoneError, match=f"{address}: no Ray cluster answers there") as caught:
        ray_driver.connected(address, "x")
    assert "\n" not in str(caught.value)


def test_an_address_that_is_none_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"no-such-host\.invalid:6379 cannot be reached"):
        ray_driver.connected("no-such-host.invalid:6379", "x")


@pytest.mark.parametrize(
    ("actors", "gpus", "said"),
    [
        (3, 0, "the cluster has 4 cores free, and 2 for the learner and 3 x 1 for actors are wanted"),
        (2, 1, "the cluster has 0 GPUs free"),
        (2, 0, "this node has 1 cores"),
    ],
)
def test_too_few_free_cores_are_one_line(actors: int, gpus: int, said: str) -> None:
    context = SimpleNamespace(get_node_id=lambda: "here")
    cluster: Any = SimpleNamespace(
        ray=SimpleNamespace(
            available_resources=lambda: {"CPU": 4.0},
            get_runtime_context=lambda: context,
            nodes=lambda: [{"NodeID": "here", "Resources": {"CPU": 1.0}}, {"NodeID": "b", "Resources": {"CPU": 3.0}}],
        ),
        placement={"learner": {"num_cpus": 2, **({"num_gpus": gpus} if gpus else {})}, "actor": {"num_cpus": 1}},
        deployment=SimpleNamespace(actors=actors),
    )
    with pytest.raises(UsageError, match=said):
        ray_driver.check_room(cluster)


def answers(monkeypatch: pytest.MonkeyPatch, **answer: Any) -> list[list[str]]:
    """Have the driver answer so; return the commands that it will have been given."""
    asked: list[list[str]] = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(
        ray_engine, "run_tool", lambda command, **rest: (asked.append(list(command)), json.dumps(answer))[1]
    )
    return asked


def test_a_cluster_that_is_gone_has_no_processes_and_can_be_taken_down(
    monkeypatch: pytest.MonkeyPatch, deployment: Deployment
) -> None:
    asked = answers(monkeypatch, error="no Ray cluster runs on this machine", gone=True)
    assert ray_engine.status(deployment).over == "its cluster is gone: no Ray cluster runs on this machine"
    ray_engine.stop(deployment)
    with pytest.raises(UsageError, match="no Ray cluster"):
        ray_engine.scale(deployment, 3)
    assert [words[4:] for words in asked] == [
        ["status", deployment.run], ["stop", deployment.run], ["scale", deployment.run, "3"]
    ]  # fmt: skip


def test_a_run_that_is_over_is_told_without_its_cluster(
    monkeypatch: pytest.MonkeyPatch, deployment: Deployment
) -> None:
    asked = answers(monkeypatch, found=[{"name": "learner", "state": "running", "host": "h1", "restarts": 2}])
    report = ray_engine.status(deployment)
    assert [(process.name, process.restarts) for process in report.processes] == [("learner", 2)]
    write_status(deployment.folder, Status(over="the run is over"))
    assert ray_engine.status(deployment).over == "the run is over"
    assert len(asked) == 1


def test_the_command_line_and_the_driver_do_not_import_ray_before_it_is_used() -> None:
    code = "import sys, dppo.deploy.ray_engine, dppo.deploy.ray_driver; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_ends_of_logs_and_what_is_added(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert end_of(log, 2) == ("", 0)
    log.write_text("one\ntwo\nthree\n")
    assert end_of(log, 2) == ("two\nthree\n", 14)
    assert end_of(log, 0) == ("", 14)
    log.write_text("one\ntwo\nthree\nfour\n")
    assert added_to(log, 14) == ("four\n", 19)
    assert added_to(log, 19) == ("", 19)
