"""The model of what many actors need: unit costs out of runs, the check against 1,000 actors, the page with it all."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dppo.protocol.rollout import Counts, blob_bytes
from scripts.chaos.load_generator import SPEC
from scripts.scaling import (
    ACTORS_OF_HOST,
    LOADS,
    UNITS,
    WORKLOADS,
    Units,
    arriving,
    byte_costs,
    leaving,
    links,
    need,
    predicted,
    processes_of,
    rate,
    runs,
    tables,
    units,
)
from scripts.scaling_runs import Load, measure

REPOSITORY = Path(__file__).parent.parent
FILE = REPOSITORY / "benchmarks" / "scaling.json"
SECONDS = 10.0
NETWORK = Units(fixed=0.01, actor=20e-6, rollout=100e-6, version=50e-6)
RELAY = Units(fixed=0.005, actor=30e-6, rollout=60e-6, version=40e-6)
BYTE_UP, BYTE_DOWN = 3e-9, 5e-9


def made_up(load: Load) -> dict[str, Any]:
    """A run that costs exactly what the unit costs say, with the network's bytes on top."""
    rollouts = int(load.actors / load.pause_seconds * SECONDS)
    versions = int(SECONDS / load.version_seconds)
    a_second = {"actors": load.actors, "rollouts": rollouts / SECONDS, "versions": load.actors * versions / SECONDS}
    network = SECONDS * NETWORK.a_second(processes=1, **a_second)
    copies = (load.relays or load.actors) * load.policy_bytes
    size = blob_bytes(SPEC, Counts(load.rows, 1, finals=0, episodes=0))
    return {
        **asdict(load),
        "seconds": SECONDS,
        "rollouts": rollouts,
        "versions": versions,
        "network_cpu": network,
        "learner_cpu": network + BYTE_UP * rollouts * size + BYTE_DOWN * versions * copies,
        "relay_cpu": SECONDS * RELAY.a_second(processes=load.relays, **a_second) if load.relays else 0.0,
        "policy_bytes_per_version": copies,
        "stop_milliseconds": 10.0,
        "stop_milliseconds_worst": 20.0,
    }


@pytest.fixture
def rows() -> dict[str, dict[str, Any]]:
    return {name: made_up(load) for name, load in LOADS.items()}


@pytest.fixture
def measured() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_bytes())["rows"]
    return found


def test_unit_costs_are_found_again_in_runs_that_they_made(rows: dict[str, dict[str, Any]]) -> None:
    expected = {"network_cpu": NETWORK, "relay_cpu": RELAY}
    for _, cpu, prefix in UNITS:
        found = units(rows, cpu, prefix)
        assert asdict(found) == pytest.approx(asdict(expected[cpu]))
        thousand = rows[f"{prefix}thousand"]
        guess = predicted(thousand, found, processes=processes_of(thousand, cpu))
        assert guess == pytest.approx(rate(thousand, cpu))


def test_costs_of_bytes_are_found_again(rows: dict[str, dict[str, Any]]) -> None:
    assert byte_costs(rows) == pytest.approx((BYTE_UP, BYTE_DOWN), rel=1e-6)
    assert arriving(rows["bytes"]) > 10 * arriving(rows["base"])
    assert leaving(rows["direct base"]) == 100 * leaving(rows["base"])


def test_relays_save_policies_and_not_rollouts(rows: dict[str, dict[str, Any]]) -> None:
    for work in WORKLOADS:
        direct, relayed = (need(work, 6400, rows, is_relayed=is_relayed) for is_relayed in (False, True))
        assert relayed.relays == 100
        assert direct.relays == 0
        assert direct.down_gbit == pytest.approx(ACTORS_OF_HOST * relayed.down_gbit)
        assert direct.up_gbit == relayed.up_gbit == pytest.approx(8e-9 * 6400 * work.rollouts * work.rollout_bytes)
        assert relayed.learners <= direct.learners


def test_in_the_measured_runs_a_policy_leaves_the_learner_once_for_each_relay(
    measured: dict[str, dict[str, Any]],
) -> None:
    for name in measured:
        load = LOADS[name]
        copies = load.relays or load.actors
        of_one_more = 1 / measured[name]["versions"]  # of which a part was sent within the run's seconds
        about = pytest.approx(copies * load.policy_bytes, rel=of_one_more)
        assert measured[name]["policy_bytes_per_version"] == about, name


def test_the_page_shows_what_the_file_says(measured: dict[str, dict[str, Any]]) -> None:
    page = (REPOSITORY / "docs" / "scaling.md").read_text()
    assert [line for line in (*runs(measured), *links()) if line not in page] == []


def test_all_tables_are_made_of_runs(rows: dict[str, dict[str, Any]]) -> None:
    text = "\n".join(tables(rows))
    assert "| network thread, relays | 10,000 | 20 | 100 | 50 |" in text
    assert text.count("| +0 % |") + text.count("| -0 % |") == len(UNITS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_of_simulated_actors_is_measured_through_a_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # scripts/ is not installed
    load = Load(8, 1, pause_seconds=0.2, version_seconds=0.5)
    cost = measure(load, 4.0)
    assert cost.versions > 0
    assert cost.rollouts > 0
    assert cost.relay_cpu > 0
    assert cost.policy_bytes_per_version < 3 * load.policy_bytes < load.actors * load.policy_bytes
