"""The bench of slow simulators: what sleeps, what it asks for, what it reports."""

import json
import time
from typing import Any

import gymnasium as gym
import pytest
from test_bench import bench

from dppo.bench.observed_run import Observed
from dppo.bench.slow import Condition, line, medians_of, row_of, train_arguments
from dppo.bench.slow_simulator import Slow
from dppo.settings.bench_arguments import BenchSlow
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import settings_of
from dppo.settings.flags import parse_flags
from dppo.settings.layers import resolve


def seconds_of_a_step(column: int) -> float:
    env = Slow(gym.make("CartPole-v1"), milliseconds=5.0, column=column)
    env.reset(seed=1)
    started = time.perf_counter()
    env.step(0)
    return time.perf_counter() - started


def test_a_row_of_environments_sleeps_once() -> None:
    assert seconds_of_a_step(0) >= 0.005
    assert seconds_of_a_step(1) < 0.005


def test_its_runs_are_commands_of_the_preset_with_slow_environments() -> None:
    arguments = BenchSlow("CartPole-v1", simulators=16, actors=4, overrides=("--ppo.epochs", "3"))
    flags = parse_flags(train_arguments(arguments, Condition(10.0, 4, 2)), settings_of(TrainConfig))
    config = resolve(TrainConfig, flags=flags.values, environ={}).config
    assert (config.actors, config.learner.collect.envs_per_actor, config.learner.ppo.epochs) == (4, 4, 3)
    (wrapper,) = config.learner.env.wrappers
    assert wrapper == {"dppo.bench.slow_simulator:Slow": {"milliseconds": 10.0, "column": "{column}"}}
    assert config.learner.run.target_return == 475
    assert config.learner.ppo.reuse == 4
    assert config.learner.collect.batch_steps == 256, "a quarter of the preset's"


def observed(solved_seconds: float | None) -> Observed:
    curve: list[dict[str, Any]] = [{"collect_seconds": 3.0, "update_seconds": 1.0}] * 2
    summary = {"solved_steps": solved_seconds and 1000, "solved_seconds": solved_seconds, "mean_return": 7.0}
    return Observed(1, {**summary, "steps": 1600, "updates": 2}, curve)


def test_the_learner_is_idle_while_it_waits_for_a_batch() -> None:
    row = row_of(Condition(10.0, 1, 1), observed(120.0))
    assert row["idle_share"] == 0.75
    assert row["steps_per_second"] == 200.0
    assert row["solved_minutes"] == 2.0
    assert "solved in   2.00 min,     1,000 steps, 200 steps/s, learner idle 75.0 %" in line(row)


def test_a_seed_that_did_not_solve_leaves_no_median_of_the_time() -> None:
    rows = [row_of(Condition(10.0, 1, seed), observed(seconds)) for seed, seconds in ((1, 120.0), (2, None))]
    medians = medians_of(10.0, 1, rows)
    assert medians["solved_minutes"] is None
    assert medians["idle_share"] == 0.75
    assert "not solved" in line({**medians, "seed": "median"})


@pytest.mark.slow
def test_a_run_of_slow_simulators_is_measured(tmp_path: Any) -> None:
    result = bench(tmp_path, "slow", "CartPole-v1", "--milliseconds", "2", "--actors", "1", "--at-once", "2")
    (run,) = result["runs"]
    assert run["steps"] >= 6000
    assert run["steps_per_second"] < 16 / 0.002, "16 steps take at least 2 ms"
    assert 0 < run["idle_share"] < 1
    assert json.dumps(result["median"][0]["milliseconds"]) == "2.0"
