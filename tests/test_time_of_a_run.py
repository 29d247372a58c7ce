"""The seconds of a run are those in which it ran, over all of its starts; what its summary says stays said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dppo.learner.config import LearnerConfig, NetworkConfig, RunConfig
from dppo.learner.run import Run
from dppo.learner.session.session import LearnerSession
from dppo.learner.storage.run_directory import RunDirectory
from dppo.protocol.specs import Leaf, Spec

SPEC = Spec((Leaf("observation", "<f4", (3,), "box"),), (Leaf("action", "<i8", (), "discrete", categories=2),))
CONFIG = LearnerConfig(
    network=NetworkConfig(policy_hidden=(4,), critic_hidden=(4,)),
    run=RunConfig(tensorboard=False, target_return=5.0),
)
TIMING = {"collect": 1.0, "update": 2.0, "stop": 0.1, "policy": 0.2}


class Start:
    """One start of a learner, at any time on any clock."""

    def __init__(self, path: Path, launched_at: float, config: LearnerConfig = CONFIG) -> None:
        self.directory = RunDirectory.open(path)
        self.run = Run(config, self.directory, launched_at)
        self.session: LearnerSession = self.run.session()
        self.run.prepare(SPEC)

    def first_step(self, now: float) -> "Start":
        self.run.note_first_step(now)
        return self

    def update(self, now: float, *, solved: bool = False) -> "Start":
        progress = self.run.progress
        progress.updates += 1
        progress.steps += 10
        if solved:
            progress.solved_steps, progress.solved_seconds = progress.steps, self.run.elapsed_seconds(now)
            progress.solved_return = self.run.config.run.target_return
        self.run.timings.add(TIMING)
        return self

    def end(self, now: float) -> dict[str, Any]:
        self.run.close("interrupted", self.run.books(self.session), now)
        self.directory.close()
        summary: dict[str, Any] = json.loads((self.directory.path / "summary.json").read_bytes())
        return summary


def test_the_time_between_two_starts_is_not_of_the_run(tmp_path: Path) -> None:
    Start(tmp_path, 100.0).update(105.0).end(110.0)
    second = Start(tmp_path, 5000.0)
    assert second.run.elapsed_seconds(5002.0) == pytest.approx(12.0)
    assert second.update(5003.0).end(5004.0)["elapsed_seconds"] == pytest.approx(14.0)
    third = Start(tmp_path, 1.0)  # the machine was started anew: another clock
    summary = third.end(2.0)
    assert (summary["elapsed_seconds"], summary["starts"]) == (pytest.approx(15.0), 3)


def test_what_a_summary_says_of_the_start_and_of_solving_is_never_lost(tmp_path: Path) -> None:
    first = Start(tmp_path, 0.0).first_step(2.0).update(5.0).update(8.0, solved=True).end(10.0)
    assert (first["first_step_seconds"], first["solved_steps"], first["solved_seconds"]) == (2.0, 20, 8.0)
    second = Start(tmp_path, 1000.0).first_step(1050.0).end(1060.0)
    kept = ("first_step_seconds", "solved_steps", "solved_seconds", "median_seconds", "idle_share", "updates", "steps")
    assert [second[name] for name in kept] == [first[name] for name in kept]
    assert second["median_seconds"] == TIMING


def test_solving_counts_from_the_launch_of_the_run_and_not_of_this_start(tmp_path: Path) -> None:
    Start(tmp_path, 0.0).update(5.0).end(10.0)
    assert Start(tmp_path, 1000.0).update(1003.0, solved=True).end(1004.0)["solved_seconds"] == pytest.approx(13.0)


@pytest.mark.parametrize(("target", "solved"), [(4.0, True), (5.0, True), (6.0, False), (None, True)])
def test_a_higher_target_has_to_be_reached_anew(tmp_path: Path, target: float | None, solved: bool) -> None:
    Start(tmp_path, 0.0).update(5.0, solved=True).end(10.0)
    again = Start(tmp_path, 0.0, replace(CONFIG, run=replace(CONFIG.run, target_return=target)))
    assert (again.run.progress.solved_steps is not None) == solved
    assert bool(again.run.over) == (solved and target is not None)
    again.end(1.0)
