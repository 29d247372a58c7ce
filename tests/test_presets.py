"""Presets that are found by the environment's id: complete, found, and good for a first update of their task."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from processes import REPOSITORY
from shards import fast_first

import dppo
from dppo.settings.commands import TrainConfig
from dppo.settings.first_line import preset_text
from dppo.settings.layers import resolve
from dppo.settings.preset_files import CLASSICS, FAMILIES, METHODS, preset_names, preset_of
from scripts.scores.optima import LIMITS, blackjack_optimum, optimum_of
from scripts.scores.table import gathered, mean_and_error, table, verdict, with_table
from scripts.scores.tasks import TASKS, Reference

OF_TASKS = [
    name for name in preset_names() if "/" not in name and name not in {*CLASSICS, *METHODS, *FAMILIES.values()}
]
SCORES: dict[str, Any] = json.loads((REPOSITORY / "benchmarks/scores.json").read_bytes())


def test_there_are_many_and_each_has_a_score() -> None:
    assert len(OF_TASKS) >= 15
    assert sorted(SCORES["rows"]) == sorted(TASKS) == sorted(OF_TASKS)


@pytest.mark.parametrize("task", OF_TASKS)
def test_a_preset_is_found_by_the_id_and_the_first_line_says_so(task: str) -> None:
    resolved = resolve(TrainConfig, flags={"env.id": task}, environ={})
    assert preset_of(task) == resolved.preset == task
    learner = resolved.config.learner
    assert (learner.env.id, learner.run.total_steps > learner.collect.batch_steps) == (task, True)
    assert resolve(TrainConfig, flags={}, environ={}, preset=task).config == resolved.config
    assert preset_text(resolved, is_off=False) == (
        f"preset {task}, found by the environment's id (--preset none: without)"
    )


@pytest.mark.parametrize("task", OF_TASKS)
def test_gymnasium_knows_the_task(task: str) -> None:
    if task not in gym.registry:
        pytest.skip(f"Gymnasium {gym.__version__} has no {task}")
    needs = TASKS[task].needs
    entry = str(gym.spec(task).entry_point)
    assert ("box2d" in entry, "mujoco" in entry) == (needs == "Box2D", needs == "mujoco")


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")  # an error while SWIG's Box2D loads is its end
@pytest.mark.parametrize("task", fast_first(OF_TASKS, 3))
def test_a_first_update_is_made(task: str, tmp_path: Path) -> None:
    needs = TASKS[task].needs
    if task not in gym.registry or (needs and importlib.util.find_spec(needs) is None):
        pytest.skip(f"{task} cannot be made here")
    ppo = resolve(TrainConfig, flags={"env.id": task}, environ={}).config.learner.ppo
    steps = max(256, ppo.minibatch_steps)
    settings = {"collect.batch_steps": steps, "total_steps": steps, "run.tensorboard": False, "evaluation_episodes": 0}
    result = dppo.train(env=task, actors=0, directory=str(tmp_path / "run"), verbose=False, **settings)
    assert (result.updates, result.env) == (1, task)
    assert result.steps >= steps


@pytest.mark.slow
def test_the_best_possible_scores_are_those_of_dynamic_programming() -> None:
    best = {task: optimum_of(task) for task in LIMITS if task in gym.registry} | {"Blackjack-v1": blackjack_optimum()}
    for task, score in best.items():
        (reference,) = TASKS[task].references
        assert reference.score == pytest.approx(score, rel=2e-3), task


def test_the_table_of_the_page_is_made_of_the_file() -> None:
    page = (REPOSITORY / "docs/scores.md").read_text(encoding="utf-8")
    assert with_table(page, SCORES["rows"]) == page
    assert table(SCORES["rows"]) in page


def test_every_score_is_of_the_preset_as_it_is() -> None:
    for task, runs in SCORES["rows"].items():
        total = resolve(TrainConfig, flags={"env.id": task}, environ={}).config.learner.run.total_steps
        for run in runs:
            assert (run["task"], run["overrides"]) == (task, [])
            assert run["steps"] >= total or run["solved_steps"] is not None
            assert min(result["episodes"] for result in run["evaluations"].values()) >= 100


def run_of(mean: float, seed: int = 1, **changes: Any) -> dict[str, Any]:
    result = {"mean": mean, "std": 10.0, "episodes": 100}
    run = {"task": "Acrobot-v1", "seed": seed, "overrides": [], "steps": 1000}
    return run | {"evaluations": {"most_likely": result, "sampled": result}} | changes


def test_newer_runs_take_the_place_of_older_ones_and_other_settings_none(tmp_path: Path) -> None:
    for name, run in {"a": run_of(1.0), "b": run_of(2.0, 2), "c": run_of(3.0, 3, overrides=["--ppo.gamma=1"])}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "score.json").write_text(json.dumps(run))
    before = {"Acrobot-v1": [run_of(9.0), run_of(8.0, 5)]}
    found = gathered(before, tmp_path)["Acrobot-v1"]
    assert [(run["seed"], run["evaluations"]["sampled"]["mean"]) for run in found] == [(1, 1.0), (2, 2.0), (5, 8.0)]


def test_a_score_within_two_standard_errors_reaches_the_published_one() -> None:
    mean, error = mean_and_error([run_of(score)["evaluations"]["sampled"] for score in (1.0, 3.0, 2.0, 2.0)])
    assert (mean, error) == (2.0, 0.5)
    assert verdict(mean, error, Reference(3.0, "x"), 1) == "yes"
    assert verdict(mean, error, Reference(3.5, "x"), 1) == "no, 1.5 below"
