"""Hooks given to `dppo.train`: by name, as a class, as an object of this process."""

from pathlib import Path
from typing import Any

import pytest

import dppo

SMALL = {
    "preset": "none",
    "verbose": False,
    "evaluation_episodes": 0,
    "collect": {"batch_steps": 64, "envs_per_actor": 2},
    "ppo": {"epochs": 1, "minibatch_steps": 64},
    "run": {"tensorboard": False},
}
MODULE = """
import pathlib

class Stops:
    def on_update(self, status):
        pathlib.Path(status.run_directory, "seen").write_text(str(status.updates))
        return "stop" if status.updates == 2 else None
"""


class Counts:
    """Counts in this process."""

    def __init__(self) -> None:
        self.updates: list[int] = []
        self.reason = ""

    def on_update(self, status: Any) -> str | None:
        self.updates.append(status.updates)
        return "stop" if status.updates == 3 else None

    def on_end(self, summary: Any) -> None:
        self.reason = summary["reason"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_object_is_called_in_this_process_and_stops_the_run(folder: Path) -> None:
    counts = Counts()
    result = dppo.train("CartPole-v1", actors=0, total_steps=10_000, hooks=counts, **SMALL)
    assert counts.updates == [1, 2, 3]
    assert counts.reason.startswith("stopped by the hook")
    assert result.reason == counts.reason
    assert [(record.state, record.steps) for record in dppo.runs()] == [("stopped", result.steps)]


class Fails:
    """Raises after the first update."""

    def on_update(self, status: Any) -> None:
        raise LookupError("no such sensor")


def test_a_run_that_failed_is_among_the_runs(folder: Path) -> None:
    with pytest.raises(dppo.DppoError, match="no such sensor"):
        dppo.train("CartPole-v1", actors=0, total_steps=10_000, hooks=Fails(), **SMALL)
    assert [(record.state, record.updates) for record in dppo.runs()] == [("failed", 1)]


class Overwrites:
    """Takes what it is given for its own."""

    def on_update(self, status: Any) -> None:
        status.metrics.clear()
        status.part_seconds.clear()

    def on_end(self, summary: Any) -> None:
        summary.clear()


def test_what_hooks_write_into_their_arguments_changes_nothing_of_the_run(folder: Path) -> None:
    result = dppo.train("CartPole-v1", actors=0, total_steps=192, hooks=Overwrites(), **SMALL)
    assert result.updates >= 2
    assert result.summary["median_seconds"]["update"] > 0


@pytest.mark.parametrize(
    ("hooks", "settings", "what"),
    [
        (Counts(), {"actors": 1}, "hooks is an object of this process"),
        ("nowhere:Hooks", {"actors": 0}, "cannot import 'nowhere'"),
        (Counts(), {"actors": 0, "run.hooks": "json:Hooks"}, "hooks are given twice"),
        (object(), {"actors": 0}, "have none of on_episode, on_update, on_end"),
        (type("Local", (Counts,), {"__module__": "__main__"}), {"actors": 1}, "defined in __main__"),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_is_written(
    folder: Path, hooks: object, settings: dict[str, Any], what: str
) -> None:
    given = {**SMALL, **settings}
    with pytest.raises(dppo.UsageError, match=what):
        dppo.train("CartPole-v1", total_steps=64, hooks=hooks, **given)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_hooks_of_a_module_are_called_where_the_run_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "own_stops.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    import own_stops

    result = dppo.train("CartPole-v1", actors=1, total_steps=100_000, hooks=own_stops.Stops, **SMALL)
    assert (folder / "runs" / "CartPole-v1" / "seen").read_text() == "2"
    assert result.reason.startswith("stopped by the hook own_stops:Stops")
