"""Shards of the slow tests, by file: what `pytest -m slow --shard NAME` runs. Without `--shard`, all of them run.

Those of `untimed` may run side by side, in several workers (`-n 3`): some compute, more start processes and wait. What
`timed` runs is judged by the time that it takes, takes all cores, or uses the container engine and network namespaces
of the machine: one test at a time, and nothing beside it.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

SHARDS = ("untimed", "timed")
TESTS = Path(__file__).parent

TIMED = {
    "chaos/test_faults.py",
    "chaos/test_harness.py",
    "test_bench.py",
    "test_bench_slow.py",
    "test_bench_update.py",
    "test_child_process.py",
    "test_compose.py",
    "test_compose_kills.py",
    "test_deploy_hosts.py",
    "test_deploy_ray.py",
    "test_deploy_slurm.py",
    "test_deploy_ssh.py",
    "test_endings_of_actors.py",
    "test_failing_environments.py",
    "test_fetches_real.py",
    "test_final_evaluation.py",
    "test_fuzz.py",
    "test_held_interpreter.py",
    "test_ingress.py",
    "test_interrupts.py",
    "test_messages_before_start.py",
    "test_overtime.py",
    "test_processes_left.py",
    "test_screen.py",
    "test_spaces_here.py",
    "test_threads.py",
    "test_watching.py",
}


def shard_of(path: Path) -> str:
    """Name of the shard that the tests of this file are of."""
    name = path.relative_to(TESTS).as_posix()
    return "timed" if name in TIMED else "untimed"


_few_examples: list[bool] = [False]


def try_few_examples(few: bool) -> None:
    """Say whether `--brief` was given; before tests are imported."""
    _few_examples[0] = few


def examples(many: int, few: int) -> int:
    """Return how many examples a slow property test tries: few with `--brief`."""
    return few if _few_examples[0] else many


def fast_first(values: Iterable[Any], fast: int) -> list[Any]:
    """Return the cases of a test of which only the first ones, so many, are not slow."""
    cases = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*case, marks=[] if place < fast else pytest.mark.slow) for place, case in enumerate(cases)]


def slow_cases(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the cases of large families that are slow: always the same ones, the first of a family never."""
    found = []
    cases: Counter[str] = Counter()
    for item in items:
        marker, family = item.get_closest_marker("fast"), item.nodeid.partition("[")[0]
        if marker and cases[family] % marker.args[0]:
            found.append(item)
        cases[family] += 1
    return found


def brief(items: list[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests that run with `--brief`, and cases that it leaves out: always the same ones, the first never."""
    kept, left_out = [], []
    cases: Counter[str] = Counter()
    for item in items:
        marker, family = item.get_closest_marker("thin"), item.nodeid.partition("[")[0]
        (left_out if marker and cases[family] % marker.args[0] else kept).append(item)
        cases[family] += 1
    return kept, left_out
