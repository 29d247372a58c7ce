"""What `dppo diagnose` names in runs with settings that keep them from learning, and that it names nothing else."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import dppo
from dppo.cli import main
from dppo.learner.config import LearnerConfig
from dppo.ops.diagnose.command import DiagnoseArguments, diagnose, examine
from dppo.ops.diagnose.history import History, read_history
from dppo.protocol.errors import UsageError

CONSTANT = {"ppo.learning_rate_schedule": "constant"}
PLANTED: dict[str, tuple[str, int, dict[str, Any], dict[str, str]]] = {  # environment, steps, settings; what is named
    "steps far too large": (
        "CartPole-v1",
        8_000,
        {"ppo.learning_rate": 0.1, **CONSTANT},
        {"policy": "Lower ppo.learning_rate (0.1)"},
    ),
    "steps too large": (
        "Pendulum-v1",
        10_000,
        {"ppo.learning_rate": 0.05, **CONSTANT},
        {"policy": "Lower ppo.learning_rate (0.05)"},
    ),
    "steps too small": ("CartPole-v1", 8_000, {"ppo.learning_rate": 1e-7}, {"policy": "Raise ppo.learning_rate"}),
    "numbers ever wider": (
        "Pendulum-v1",
        20_000,
        {"ppo.entropy_coefficient": 3.0},
        {"exploration": "Lower ppo.entropy_coefficient (3)"},
    ),
    "choices at random": (
        "CartPole-v1",
        8_000,
        {"ppo.entropy_coefficient": 3.0},
        {"exploration": "Lower ppo.entropy_coefficient (3)"},
    ),
    "no horizon": ("Pendulum-v1", 10_000, {"ppo.gamma": 0.5}, {"episodes": "ppo.gamma: 0.995"}),
    "no critic": ("CartPole-v1", 15_000, {"ppo.value_coefficient": 0.0}, {"critic": "ppo.value_coefficient: 0.5"}),
    "stopped at once": ("CartPole-v1", 6_000, {"ppo.early_stop_kl": 1e-6}, {"epochs": "raise ppo.early_stop_kl"}),
    "rewards too large": (
        "Pendulum-v1",
        10_000,
        {"ppo.normalise_values": False, "ppo.reward_scale": 100.0},
        {"gradient": "ppo.normalise_rewards"},
    ),
    "more environments than steps": (
        "CartPole-v1",
        1_000,
        {"collect.batch_steps": 64, "ppo.minibatch_steps": 64, "collect.envs_per_actor": 128},
        {"batches": "Raise collect.batch_steps"},
    ),
    "no end": ("tests.faulty_envs:Endless-v0", 10_000, {}, {"episodes": "TimeLimit"}),
}
HEALTHY: dict[str, tuple[str, int, dict[str, Any]]] = {
    "CartPole": ("CartPole-v1", 20_000, {}),
    "Pendulum": ("Pendulum-v1", 20_000, {}),
    "by KL penalty": ("CartPole-v1", 12_000, {"ppo.surrogate": "kl_penalty"}),
    "own environment": ("tests.faulty_envs:Cart-v0", 30_000, {}),
}


def trained(directory: Path, env: str, steps: int, settings: Mapping[str, Any], actors: int = 0) -> Path:
    dppo.train(
        env,
        actors=actors,
        total_steps=steps,
        evaluation_episodes=0,
        verbose=False,
        **{"run.directory": str(directory), "run.stop_at_target": False, **settings},
    )
    return directory


def named(history: History) -> dict[str, str]:
    return {finding.what: finding.line for finding in examine(history) if finding.level != "ok"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_setting_is_named_and_nothing_else(fault: str, tmp_path: Path) -> None:
    env, steps, settings, expected = PLANTED[fault]
    found = named(read_history(trained(tmp_path / "run", env, steps, {"run.target_return": None, **settings})))
    assert found.keys() == expected.keys()
    assert all(text in found[what] for what, text in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize("run", HEALTHY)
def test_nothing_is_named_in_a_run_that_learns(run: str, tmp_path: Path) -> None:
    env, steps, settings = HEALTHY[run]
    assert named(read_history(trained(tmp_path / "run", env, steps, {"run.target_return": None, **settings}))) == {}


def history_of(updates: int = 20, ledger: Mapping[str, Any] | None = None, **columns: Any) -> History:
    """Return a healthy run, with other columns: a value, or a function of the update's number."""
    healthy = {
        **{"approx_kl": 0.01, "clip_fraction": 0.1, "grad_norm": 0.5, "epochs": 10, "entropy": 0.6},
        **{"explained_variance": 0.8, "batch_steps": 1_024, "mean_length": 100.0, "env_restarts": 0},
        "mean_return": lambda number: 10.0 * number,
        "episodes": lambda number: 10 * number,
        "steps": lambda number: 1_024 * number,
        "update": lambda number: number,
    }
    rows = [
        {name: value(number) if callable(value) else value for name, value in {**healthy, **columns}.items()}
        for number in range(1, updates + 1)
    ]
    collect = dataclasses.replace(LearnerConfig().collect, batch_steps=1_024)
    return History(
        rows, dataclasses.replace(LearnerConfig(), collect=collect), ledger or {}, {"newest_crash": "it fell"}
    )


RARE: dict[str, tuple[dict[str, Any], str, str]] = {
    "lost again": ({"mean_return": lambda number: 400.0 if number == 10 else 20.0}, "return", "after update 10"),
    "certain too early": (
        {"entropy": lambda number: 0.6 if number == 1 else 1e-4, "mean_return": lambda number: 10.0 + number},
        "exploration",
        "Raise ppo.entropy_coefficient",
    ),
    "numbers without spread": ({"policy_std": 1e-3}, "exploration", "has fallen to 0.001"),
    "crashes": ({"env_restarts": 7}, "environments", "7 times, at last: it fell"),
    "far numbers": ({"outliers": 100}, "batches", "dppo check"),
    "thrown away": ({"ledger": {"total": {"sealed": 1_000, "dropped": {"late": 300}}}}, "steps", "most as late"),
    "a slow host": (
        {"ledger": {"accounts": {f"h{number}": {"trained": 10 if number == 2 else 9_000} for number in range(4)}}},
        "actors",
        "h2 made 10 steps",
    ),
}


@pytest.mark.parametrize("fault", RARE)
def test_what_rarely_happens_is_named(fault: str) -> None:
    columns, what, text = RARE[fault]
    assert named(history_of()) == {}
    found = named(history_of(**columns))
    assert [*found] == [what]
    assert text in found[what]


def test_noise_is_no_return_that_was_lost_again() -> None:
    jumping = history_of(updates=21, mean_return=lambda number: -0.25 if number == 1 else -0.06 - 0.1 * (number % 2))
    assert named(jumping) == {}


def of_run(history: History, **settings: Any) -> History:
    run = dataclasses.replace(history.config.run, **settings)
    return dataclasses.replace(history, config=dataclasses.replace(history.config, run=run))


def test_a_run_that_begins_with_what_another_has_learnt_need_not_get_better() -> None:
    steady, lost = history_of(mean_return=500.0), history_of(mean_return=lambda number: 500.0 - 20.0 * (number - 1))
    assert "has not grown" in named(steady)["return"]
    assert named(of_run(steady, init_from="runs/other")) == {}
    assert "lower than that of the weights" in named(of_run(lost, init_from="runs/other"))["return"]


def with_collect(history: History, **settings: Any) -> History:
    collect = dataclasses.replace(history.config.collect, **settings)
    return dataclasses.replace(history, config=dataclasses.replace(history.config, collect=collect))


def test_batches_of_actors_that_go_on_may_hold_more_and_no_setting_is_advised_that_is_refused() -> None:
    large, huge = history_of(batch_steps=1_950), history_of(batch_steps=4_000)
    assert "even_shares" in named(large)["batches"]
    assert named(with_collect(large, max_staleness=1)) == {}
    assert "or take fewer actors" in named(with_collect(huge, max_staleness=1))["batches"]
    assert "or take fewer actors" in named(with_collect(huge, rule="even_shares"))["batches"]


def test_certain_actions_are_usual_once_most_is_learnt() -> None:
    certain = history_of(
        entropy=lambda number: 0.6 if number < 10 else 1e-4, mean_return=lambda number: min(1.0, number / 10)
    )
    assert named(certain) == {}
    assert "before the task was solved" in named(of_run(certain, target_return=2.0))["exploration"]
    never = history_of(entropy=lambda number: 0.6 if number < 10 else 1e-4, mean_return=0.0)
    assert "exploration" in named(never)


def test_a_run_that_was_ended_while_it_grew_is_named() -> None:
    history = history_of()
    grown = of_run(history, target_return=475.0)
    assert "Raise run.total_steps" in named(grown)["return"]
    assert named(dataclasses.replace(grown, summary={})) == {}  # it goes on
    assert named(history) == {}  # nothing is wanted


def test_a_run_of_few_updates_is_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = map(json.dumps, history_of(updates=3, mean_return=None).rows)
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "config.yaml").write_text("env: {id: CartPole-v1}\n", encoding="utf-8")
    assert diagnose(DiagnoseArguments(str(tmp_path))) == 0
    out = capsys.readouterr().out
    assert "3 updates, too few to judge" in out
    assert "nothing is wrong" not in out


def test_the_command_reads_a_run_that_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(UsageError, match="has no metrics"):
        diagnose(DiagnoseArguments(str(run)))
    rows = [*map(json.dumps, history_of().rows)]
    (run / "metrics.jsonl").write_text("\n".join([*rows, '{"update": 21, "st']), encoding="utf-8")
    with pytest.raises(UsageError, match="no config"):
        diagnose(DiagnoseArguments(str(run)))
    (run / "config.yaml").write_text(
        "env: {id: CartPole-v1}\nactors: 3\ncollect: {batch_steps: 1024}\n", encoding="utf-8"
    )
    assert diagnose(DiagnoseArguments(str(run))) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    assert diagnose(DiagnoseArguments(str(run), json=True)) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=f"name one of the runs in it: {tmp_path / 'a'}"):
        diagnose(DiagnoseArguments(str(tmp_path)))


def test_a_run_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["diagnose", "runs/nothing"])
    assert end.value.code == 2
    assert "there is no run runs/nothing" in capsys.readouterr().err
