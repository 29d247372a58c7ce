"""Each slow test is in one shard, and `.ci/run` runs all shards."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import shards
from shards import SHARDS, TESTS, TIMED, brief, examples, fast_first, shard_of, slow_cases, try_few_examples


def test_every_file_that_is_named_exists() -> None:
    assert [name for name in TIMED if not (TESTS / name).is_file()] == []
    assert {shard_of(path) for path in TESTS.rglob("test_*.py")} == set(SHARDS)


def test_all_that_needs_the_machine_to_itself_is_in_one_shard() -> None:
    """The rules of iptables, which one process at a time may change, of engine and namespaces; Slurm's queue."""
    helpers = "compose_projects|ssh_servers|real_hosts"
    marks = re.compile(rf'"docker", |chaos\.registry|(import|from) ({helpers})|sbatch')
    users = [path for path in TESTS.rglob("test_*.py") if marks.search(path.read_text())]
    users = [path for path in users if "mark.slow" in path.read_text() or "mark.chaos" in path.read_text()]
    assert {path.name for path in users} >= {"test_compose.py", "test_faults.py"}
    assert {shard_of(path) for path in users if path.name != Path(__file__).name} == {"timed"}


def test_the_whole_check_runs_every_shard() -> None:
    script = (TESTS.parent / ".ci" / "run").read_text()
    assert set(re.findall(r"^slow (\w+)", script, re.MULTILINE)) == set(SHARDS)


class Item:
    """A test, as far as `--brief` looks at it."""

    def __init__(self, nodeid: str, n: int = 0, marker: str = "thin") -> None:
        self.nodeid, self._n, self._marker = nodeid, n, marker

    def get_closest_marker(self, name: str) -> object:
        return SimpleNamespace(args=(self._n,)) if self._n and name == self._marker else None


def test_brief_leaves_out_cases_of_large_families_only_and_always_the_same() -> None:
    items = [Item(f"a.py::test_family[{case}]", 2) for case in range(5)] + [Item(f"a.py::test_x[{n}]") for n in (0, 1)]
    kept, left_out = brief(items)
    assert [item.nodeid[-3:] for item in kept] == ["[0]", "[2]", "[4]", "[0]", "[1]"]
    assert [item.nodeid[-3:] for item in left_out] == ["[1]", "[3]"]


def test_of_a_large_family_every_nth_case_is_fast_and_always_the_same() -> None:
    items = [Item(f"a.py::test_family[{case}]", 3, "fast") for case in range(5)] + [Item("a.py::test_x[0]", 2)]
    assert [item.nodeid[-3:] for item in slow_cases(items)] == ["[1]", "[2]", "[4]"]


def test_brief_asks_for_fewer_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_few_examples", [False])
    assert examples(100, 30) == 100
    try_few_examples(True)
    assert examples(100, 30) == 30


def test_of_a_family_whose_cases_repeat_only_the_first_are_fast() -> None:
    marks = [[mark.name for mark in case.marks] for case in fast_first([("a", 1), ("b", 2), "c"], 1)]
    assert marks == [[], ["slow"], ["slow"]]
