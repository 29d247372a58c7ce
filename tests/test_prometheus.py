"""Metrics for Prometheus: what a scrape of a run says, read with prometheus-client's own parsers."""

import contextlib
import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from command_line import failed, forget_variables
from processes import REPOSITORY
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from test_progress import STATUS, actor

from dppo.learner.telemetry.prometheus import MOST_ACTORS, rendered
from dppo.learner.telemetry.status import OWN_METRICS, Status
from dppo.learner.telemetry.timings import Timings
from dppo.local import metrics_http
from dppo.local.drawing_thread import Screen
from dppo.local.metrics_server import serving_metrics
from dppo.protocol.account import DropReason
from dppo.protocol.errors import UsageError
from scripts.ports import free_port

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FULL = msgspec.structs.replace(
    STATUS,
    actors=(actor("lab-0"), actor("lab-1", "silent", heard=5.0)),
    metrics={"kl": 0.01, f"{OWN_METRICS}distance": 0.25},
    success_rate=0.5,
    median_return=90.0,
    part_seconds={"collect": 3.5, "update": 1.25, "stop": 0.1, "policy": 0.2},
    queue_rollouts=3,
    queue_bytes=4096,
)
Samples = dict[tuple[str, tuple[str, ...]], float]


def families(status: Status | None, accept: str = OPENMETRICS) -> dict[str, Metric]:
    content, content_type = rendered(status, accept)
    parse = parse_openmetrics if content_type.startswith("application/openmetrics-text") else parse_text
    return {family.name: family for family in parse(content.decode())}


def samples(status: Status, accept: str = OPENMETRICS) -> Samples:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families(status, accept).values()
        for sample in family.samples
    }


def scrape(port: int, path: str = "/metrics", accept: str = OPENMETRICS) -> tuple[int, str, str]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("GET", path, headers={"Accept": accept})
    answer = client.getresponse()
    content = answer.read().decode()
    client.close()
    return answer.status, answer.headers.get("Content-Type", ""), content


@pytest.fixture
def port() -> int:
    return free_port()


def test_a_status_is_in_the_metrics_with_its_numbers() -> None:
    found = samples(FULL)
    expected: dict[tuple[str, tuple[str, ...]], float] = {
        ("dppo_updates_total", ()): 3,
        ("dppo_trained_steps_total", ()): 3072,
        ("dppo_policy_version", ()): 4,
        ("dppo_return_mean", ()): STATUS.mean_return or 0.0,
        ("dppo_return_median", ()): 90.0,
        ("dppo_success_ratio", ()): 0.5,
        ("dppo_phase", ("collecting",)): 1,
        ("dppo_update_parts_seconds_total", ("update",)): 1.25,
        ("dppo_update_figure", ("kl",)): 0.01,
        ("dppo_environment_metric", ("distance",)): 0.25,
        ("dppo_queue_rollouts", ()): 3,
        ("dppo_queue_bytes", ()): 4096,
        ("dppo_ledger_sealed_steps_total", ()): STATUS.ledger.sealed,
        ("dppo_actors", ("silent",)): 1,
        ("dppo_actors", ("running",)): 1,
        ("dppo_actors", ("gone",)): 0,
        ("dppo_actor_steps_total", ("lab-1", "lab")): 1024,
        ("dppo_actor_time_ratio", ("lab-0", "lab", "idle")): 0.14,
        ("dppo_actor_silence_seconds", ("lab-1", "lab")): 5.0,
    }
    assert {key: found.get(key) for key in expected} == pytest.approx(expected)
    dropped = {labels[0]: value for (name, labels), value in found.items() if name == "dppo_ledger_dropped_steps_total"}
    assert dropped == {reason: STATUS.ledger.dropped.get(reason, 0) for reason in get_args(DropReason)}


def test_old_and_new_kinds_of_clients_get_the_same_numbers() -> None:
    plain, open_ = samples(FULL, "text/plain; version=0.0.4"), samples(FULL)
    assert {key: value for key, value in plain.items() if not key[0].endswith("_created")} == open_


def test_names_and_units_are_those_of_openmetrics() -> None:
    for name, family in families(FULL).items():
        assert name.startswith("dppo_")
        assert family.documentation
        assert not family.unit or name.endswith(f"_{family.unit}")
        for unit in ("seconds", "bytes", "ratio"):
            if name.endswith(f"_{unit}"):
                assert family.unit == unit or name == "dppo_success_ratio"


def test_every_metric_is_in_the_documentation_and_the_other_way_round() -> None:
    page = (REPOSITORY / "docs" / "monitoring.md").read_text()
    documented = set(re.findall(r"`(dppo_\w+)`", page))
    assert {name for name, _ in samples(FULL)} == documented


def test_what_is_not_known_is_left_out() -> None:
    names = {name for name, _ in samples(msgspec.structs.replace(FULL, mean_return=None, success_rate=None))}
    assert names.isdisjoint({"dppo_return_mean", "dppo_success_ratio"})
    assert families(None) == {}


def test_series_of_actors_are_bounded() -> None:
    many = samples(msgspec.structs.replace(FULL, actors=tuple(actor(f"lab-{i}") for i in range(MOST_ACTORS + 50))))
    assert sum(name == "dppo_actor_steps_total" for name, _ in many) == MOST_ACTORS
    assert many["dppo_actors_without_series", ()] == 50
    assert many["dppo_actors", ("running",)] == MOST_ACTORS + 50
    assert ("dppo_actor_steps_total", (f"lab-{MOST_ACTORS - 1}", "lab")) in many


def test_a_scrape_gets_the_newest_status_and_nothing_before_the_first(port: int) -> None:
    with serving_metrics(f"127.0.0.1:{port}") as take:
        assert scrape(port)[0] == 200
        assert "dppo_updates" not in scrape(port)[2]
        for updates in (3, 4):
            take(msgspec.structs.replace(FULL, updates=updates))
            code, kind, content = scrape(port, "/metrics?x=1")
            assert (code, kind.split(";")[0]) == (200, "application/openmetrics-text")
            assert f"dppo_updates_total {updates}.0" in content
        assert scrape(port, "/secrets")[0] == 404
        assert "# EOF" not in scrape(port, accept="")[2]
    with pytest.raises(ConnectionRefusedError):
        scrape(port)


def test_a_status_is_rendered_once_however_often_it_is_asked_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Status | None] = []

    def count(status: Status | None, accept: str) -> tuple[bytes, str]:
        calls.append(status)
        return rendered(status, accept)

    monkeypatch.setattr("dppo.learner.telemetry.prometheus.rendered", count)
    with serving_metrics(f"127.0.0.1:{port}") as take:
        for status in (FULL, msgspec.structs.replace(FULL, updates=9)):
            take(status)
            for _ in range(3):
                scrape(port)
    assert [status and status.updates for status in calls] == [3, 9]


def test_a_client_that_stands_still_holds_up_neither_the_run_nor_others_for_long(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_http._Handler, "timeout", 0.2)
    with serving_metrics(f"127.0.0.1:{port}") as take, socket.create_connection(("127.0.0.1", port)):
        began = time.monotonic()
        take(FULL)
        assert time.monotonic() - began < 0.1
        assert scrape(port)[0] == 200


def test_a_port_in_use_is_one_line_before_anything_starts(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_variables(monkeypatch)
    monkeypatch.chdir(tmp_path)
    address = f"127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", port)):
        for command in ("train", "learner"):
            line = failed(capsys, command, "--env", "CartPole-v1", "--run.metrics-address", address)
            assert line.startswith(f"run.metrics_address={address} cannot be listened on: Address already in use")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["9464", "host", "http://x:1", "127.0.0.1:99999", ":1"])
def test_an_address_without_a_port_is_refused(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_variables(monkeypatch)
    line = failed(capsys, "train", "--env", "CartPole-v1", "--run.metrics-address", address)
    assert "must be host:port" in line


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"prometheus_client is not installed.* pip install 'dppo\[learner\]'"):
        serving_metrics("127.0.0.1:1").__enter__()


def test_every_status_is_published_also_while_a_terminal_takes_nothing() -> None:
    blocked = threading.Event()
    taken: list[int] = []

    class Terminal:
        def __enter__(self) -> "Terminal":
            return self

        def __exit__(self, *_: object) -> None: ...

        def show(self, status: Status) -> None:
            blocked.wait(10)

    terminal: Any = Terminal()
    with Screen(terminal, publish=lambda status: taken.append(status.updates)) as screen:
        for updates in (1, 2, 3):
            screen.show(msgspec.structs.replace(FULL, updates=updates))
        assert taken == [1, 2, 3]
        blocked.set()


def test_parts_of_updates_add_up() -> None:
    timings = Timings()
    timings.add({"collect": 1.0, "update": 0.5, "stop": float("nan"), "policy": 0.25})
    before = timings.totals
    timings.add({"collect": 2.0, "update": 0.5, "stop": 0.125, "policy": 0.25})
    assert timings.totals == {"collect": 3.0, "update": 1.0, "stop": 0.125, "policy": 0.5}
    assert before["collect"] == 1.0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian's package)")
def test_a_real_prometheus_scrapes_without_a_complaint(port: int, tmp_path: Path) -> None:
    web = free_port()
    config = yaml.safe_load((REPOSITORY / "examples/deploy/monitoring/prometheus.yml").read_text())
    config["global"]["scrape_interval"] = "1s"
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with serving_metrics(f"127.0.0.1:{port}") as take, (tmp_path / "log").open("wb") as log:
        take(FULL)
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{web}"], stdout=log, stderr=log)
        try:
            value, deadline = "", time.monotonic() + 30
            while not value:
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-2000:]
                time.sleep(0.2)
                with contextlib.suppress(OSError):
                    status, _, content = scrape(web, "/api/v1/query?query=dppo_actor_steps_total")
                    found = json.loads(content)["data"]["result"] if status == 200 else []  # 503: it reads its files
                    value = ",".join(sorted(one["metric"]["actor"] for one in found))
        finally:
            process.kill()
            process.wait()
    assert value == "lab-0,lab-1"
