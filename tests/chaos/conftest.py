"""Plays the faults that were selected, some at once: most of the time a fault only waits.

Each is played by `dppo bench chaos` in a process of its own: its signals, file descriptors and memory are not pytest's.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
AT_ONCE = 3
FAULT_SECONDS = 600.0  # most take some ten

Outcome = dict[str, Any]  # of one fault, as in the JSON file of the bench


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark faults as slow, but where this folder was asked for: `pytest tests/chaos -k slow-actor` plays that one."""
    paths = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    is_asked_for = any(path.is_relative_to(HERE) for path in paths) and config.option.markexpr == "not slow"
    for item in items:
        if item.get_closest_marker("chaos") is not None and not is_asked_for:
            item.add_marker(pytest.mark.slow)


class Lanes:
    """Plays faults in the order of their tests, so that each test waits for little more than its own.

    Each lane has every third fault: what is played beside what hardly varies, and two that take all cores never meet.
    """

    def __init__(self, directory: Path, faults: list[str]) -> None:
        self._directory = directory
        self._benches: list[subprocess.Popen[bytes]] = []
        self._is_closed = False
        self._pools = [ThreadPoolExecutor(1) for _ in range(AT_ONCE)]
        self._outcomes: dict[str, Future[Outcome]] = {
            fault: self._pools[number % AT_ONCE].submit(self._play, fault) for number, fault in enumerate(faults)
        }

    def outcome(self, fault: str) -> Outcome:
        """Wait until it has been played."""
        return self._outcomes[fault].result()

    def _play(self, fault: str) -> Outcome:
        output = self._directory / f"{fault}.json"
        command = [sys.executable, "-m", "dppo.cli", "bench", "chaos", "--only", fault, "--output", str(output)]
        with output.with_suffix(".log").open("wb") as log:
            bench = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
        self._benches.append(bench)
        if self._is_closed:
            bench.terminate()
        try:
            bench.wait(FAULT_SECONDS)
        finally:
            bench.terminate()  # one that has ended does not mind
            bench.wait(60)
        (outcome,) = json.loads(output.read_bytes())["outcomes"]
        assert isinstance(outcome, dict)
        return outcome

    def close(self) -> None:
        """End what is still played, where the tests were broken off."""
        self._is_closed = True
        for bench in list(self._benches):
            bench.terminate()
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def outcome_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Outcome]]:
    """Return a function that gives what the bench says about a fault."""
    selected = [item for item in request.session.items if isinstance(item, pytest.Function)]
    faults = [item.callspec.params["fault"] for item in selected if item.get_closest_marker("chaos") is not None]
    lanes = Lanes(tmp_path_factory.mktemp("chaos"), faults)
    yield lanes.outcome
    lanes.close()
