"""docker-compose.yml on a real engine, in mid-run: kills, scaling, a second network, metrics; one run, without an end.

How long a killed process was away is measured by the engine's own clock, from its end to the learner's line about it.
Processes are killed from a container in the host's process namespace, so neither root nor a Linux host is needed.
"""

import json
import os
import re
import shutil
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from compose_projects import (
    REPOSITORY,
    Stack,
    docker,
    eventually,
    images_or_skip,
    kill_main_process,
    new_project,
    taken_down,
)

from dppo.protocol.security.join_line import JoinLine
from scripts.ports import free_port

ENDLESS = "--run.no-stop-at-target --steps 1_000_000_000 --run.checkpoint-seconds 2"
ACTOR_BACK_SECONDS = 5.0  # after it was killed
ALL_BACK_SECONDS = 10.0  # after the learner was
ACTOR_STARTS_SECONDS = 1.5  # a container that imports what an actor does and ends, on a machine that has time
LEARNER_STARTS_SECONDS = 4.0  # with PyTorch, which its checkpoint needs
ASK = """import sys, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
except OSError:  # it has not read its files yet
    print('{"data": {"result": []}}')
"""
PROMETHEUS = "prom/prometheus"
STAND_IN = """FROM python:3.11-slim
COPY prometheus /bin/prometheus
RUN mkdir /prometheus && chown nobody /prometheus
USER nobody
ENTRYPOINT ["/bin/prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def tag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with images_or_skip(tmp_path_factory) as name:
        yield name


@pytest.fixture(scope="module")
def address() -> str:
    """Address of the learner's published port: on the host's side of another network, the engine's own."""
    return f"{docker('network', 'inspect', 'bridge', '--format', '{{(index .IPAM.Config 0).Gateway}}')}:{free_port()}"


@pytest.fixture(scope="module")
def endless(tag: str, address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A run of learner and two actors that goes on."""
    files = ("docker-compose.yml", "docker-compose.hosts.yml")
    project = Stack(new_project(), tmp_path_factory.mktemp("endless") / "runs", tag, arguments=ENDLESS, files=files)
    project.variables["DPPO_PUBLISH"] = address
    with taken_down(project):
        project.up("learner", "actor")
        yield project


@pytest.fixture
def running(endless: Stack) -> Stack:
    """The same, once it trains; whatever another test has left."""
    endless.up("--scale", "actor=2", "--no-recreate", "learner", "actor")
    eventually("the learner is healthy", lambda: endless.all_healthy("learner", 1))
    eventually("both actors are healthy", lambda: endless.all_healthy("actor", 2))
    endless.trains_on()
    return endless


def slowness(image: str, module: str, usual_seconds: float) -> float:
    """Return how much longer than usual a start takes now; 1.0 where it does not: machines may have other work."""
    began = time.monotonic()
    docker("run", "--rm", "--entrypoint=python", image, "-c", f"import {module}")
    return max(1.0, (time.monotonic() - began) / usual_seconds)


def test_a_killed_actor_is_back_within_5_seconds_under_its_name(running: Stack, tag: str) -> None:
    victim = running.containers("actor")[0]
    name = docker("inspect", "--format", "{{.Name}}", victim).removeprefix(f"/{running.project}-")
    assert re.fullmatch(r"actor-[12]", name)
    before = slowness(f"dppo-actor:{tag}", "dppo.actor.service", ACTOR_STARTS_SECONDS)
    killed_at = kill_main_process(victim, f"dppo-actor:{tag}")
    eventually("it has joined again", lambda: name in running.joins(killed_at))
    away = (running.joins(killed_at)[name] - killed_at).total_seconds()
    print(f"the actor was away for {away:.1f} s")
    after = slowness(f"dppo-actor:{tag}", "dppo.actor.service", ACTOR_STARTS_SECONDS)
    assert away <= ACTOR_BACK_SECONDS * max(before, after)
    running.trains_on()


def test_all_are_back_within_10_seconds_after_the_learner_was_killed(running: Stack, tag: str) -> None:
    running.trains_on()  # a learner that starts from nothing would show
    steps = running.trained_steps()
    before = slowness(f"dppo-learner:{tag}", "dppo.learner.ppo.trainer", LEARNER_STARTS_SECONDS)
    killed_at = kill_main_process(running.containers("learner")[0], f"dppo-learner:{tag}")
    eventually("both have joined again", lambda: running.joins(killed_at).keys() >= {"actor-1", "actor-2"})
    away = (max(running.joins(killed_at).values()) - killed_at).total_seconds()
    print(f"the last one has joined {away:.1f} s after the learner was killed")
    after = slowness(f"dppo-learner:{tag}", "dppo.learner.ppo.trainer", LEARNER_STARTS_SECONDS)
    assert away <= ALL_BACK_SECONDS * max(before, after)
    eventually("training beyond where it was killed", lambda: running.trained_steps() > steps)
    assert [record["update"] for record in running.metrics()] == list(range(1, len(running.metrics()) + 1))


def test_a_run_is_scaled_to_six_actors_and_to_one(running: Stack) -> None:
    running.up("--no-recreate", "--scale", "actor=6", "learner", "actor")
    names = {f"actor-{number}" for number in range(1, 7)}
    ledger = running.run / "ledger.json"
    eventually("all six are in the ledger", lambda: all(f'"{name}"' in ledger.read_text() for name in names))
    assert running.all_healthy("learner", 1)
    running.up("--no-recreate", "--scale", "actor=1", "learner", "actor")
    eventually("one actor is left, and healthy", lambda: running.all_healthy("actor", 1))
    running.trains_on()


def test_a_project_on_another_network_joins_by_one_token_until_that_is_revoked(
    running: Stack, address: str, tmp_path: Path
) -> None:
    line = tmp_path / "join"
    line.touch(mode=0o600)
    other = replace(
        running,
        project=new_project(),
        runs=tmp_path / "runs",
        files=("docker-compose.actors.yml",),
        variables={
            "DPPO_JOIN_FILE": str(line),
            "DPPO_UID": str(os.getuid()),
            "DPPO_GID": str(os.getgid()),
            "DPPO_COUNT": "2",
            "DPPO_NAME": "host2",
        },
    )

    def token(*arguments: str) -> str:
        return running.compose("exec", "--no-TTY", "learner", "dppo", "token", *arguments)

    with taken_down(other):
        valid = token("add", f"runs/{running.env_id}", "other", "--address", address)
        line.write_text(f"{replace(JoinLine.parse(valid), secret=os.urandom(32))}\n")
        other.up()
        eventually("both are refused", lambda: other.log("actors").count("does not accept this token") >= 2)
        assert "host2" not in running.log("learner")
        assert "Traceback" not in other.log("actors")
        other.compose("down", "--timeout", "2")

        line.write_text(valid)
        assert line.read_text().split()[-1] not in other.compose("config")
        other.up()
        eventually("both have joined", lambda: set(re.findall(r"host2-\d(?= joined with)", running.log("learner"))))
        eventually("they take part", lambda: '"host2-1"' in (running.run / "ledger.json").read_text())
        token("revoke", f"runs/{running.env_id}", "other")
        eventually("they end, and say why", lambda: other.log("actors").count("was refused") >= 2)
    running.trains_on()


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian's package) for its image")
def test_every_panel_of_the_dashboard_has_data(running: Stack, tmp_path: Path) -> None:
    """The profile's Prometheus on an image that is made here: the one it names need not be within reach."""
    shutil.copy(shutil.which("prometheus") or "", tmp_path / "prometheus")
    (tmp_path / "Dockerfile").write_text(STAND_IN)
    dashboard = REPOSITORY / "examples/deploy/monitoring/grafana/dashboard.json"
    targets = [target for panel in json.loads(dashboard.read_text())["panels"] for target in panel["targets"]]
    running.variables["PROMETHEUS_TAG"] = running.tag
    docker("build", "--tag", f"{PROMETHEUS}:{running.tag}", str(tmp_path), timeout_seconds=300)

    def result(expression: str) -> list[object]:
        url = f"http://127.0.0.1:9090/api/v1/query?query={urllib.parse.quote(expression)}"
        answer = json.loads(running.compose("exec", "--no-TTY", "prometheus", "python", "-c", ASK, url))
        return list(answer["data"]["result"])

    try:
        running.compose("--profile", "monitoring", "up", "--detach", "--no-build", "--no-recreate", "prometheus")
        eventually("the learner is scraped", lambda: "up" in str(result('up{job="dppo"} == 1')))
        for target in targets:
            eventually(f"data for {target['expr']}", lambda: result(target["expr"]))  # noqa: B023
    finally:
        running.compose("--profile", "monitoring", "rm", "--stop", "--force", "prometheus")
        docker("image", "rm", "--force", f"{PROMETHEUS}:{running.tag}")


def test_the_ledger_closes_after_all_that(running: Stack) -> None:
    running.compose("stop", "learner")
    (code,) = docker("inspect", "--format", "{{.State.ExitCode}}", *running.containers("learner")).split()
    assert code in ("0", "130", "143")
    last = [line for line in running.log("learner").splitlines() if line.startswith("ledger: ")][-1]
    assert "DOES NOT CLOSE" not in last
    assert re.search(r": closed(, but for unknown: .*)?$", last)
