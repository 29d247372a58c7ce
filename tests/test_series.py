"""Which runs are drawn as seeds of one another: those of one label whose settings are the same, and no others."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dppo.learner.config import LearnerConfig
from dppo.local.run_comparison import may_change
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build, settings_of, values_of
from dppo.settings.layers import dump_yaml
from dppo.watch.curves import Curve, read_curves
from dppo.watch.plot import plot
from dppo.watch.series import series_of, told_apart

ROW = {"steps": 100, "elapsed_seconds": 1.0, "mean_return": 1.0}


def run_directory(path: Path, **values: Any) -> str:
    path.mkdir(parents=True)
    config = build(TrainConfig, {name.replace("__", "."): value for name, value in values.items()})
    (path / "config.yaml").write_text(dump_yaml(config))
    (path / "metrics.jsonl").write_text("".join(json.dumps(ROW | {"update": i, "steps": i}) + "\n" for i in (1, 2)))
    return str(path)


def groups(*runs: str) -> list[tuple[str, list[str]]]:
    return [(series.name, [c.name for c in series.curves]) for series in series_of(read_curves(runs, "return"))]


def test_seeds_and_what_may_change_are_one_series(tmp_path: Path) -> None:
    runs = [
        run_directory(tmp_path / "a", run__seed=1),
        run_directory(tmp_path / "b", run__seed=2, run__total_steps=5000, actors=7, run__target_return=3.0),
    ]
    assert groups(*runs) == [("", ["a", "b"])]


def test_other_settings_are_another_series_that_is_named_by_what_differs(tmp_path: Path) -> None:
    runs = [
        run_directory(tmp_path / "a", run__seed=1),
        run_directory(tmp_path / "b", run__seed=2),
        run_directory(tmp_path / "c", run__seed=3, ppo__gamma=0.9),
    ]
    assert groups(*runs) == [("gamma 0.99", ["a", "b"]), ("gamma 0.9", ["c"])]
    labelled = [f"ours={run}" for run in runs]
    assert groups(*labelled) == [("ours: gamma 0.99", ["a", "b"]), ("ours: gamma 0.9", ["c"])]
    said: list[str] = []
    plot(runs, str(tmp_path / "x.png"), note=said.append)
    assert said == ["CartPole-v1: different settings, drawn apart: gamma 0.99 (2 runs); gamma 0.9 (1 run)"]


def test_runs_of_two_labels_need_no_telling_apart(tmp_path: Path) -> None:
    runs = [f"a={run_directory(tmp_path / 'a')}", f"b={run_directory(tmp_path / 'b', ppo__gamma=0.9)}"]
    assert groups(*runs) == [("a", ["a"]), ("b", ["b"])]
    assert told_apart({"x": series_of(read_curves(runs, "return"))}) == []


def test_a_linear_schedule_is_of_the_length_of_its_run(tmp_path: Path) -> None:
    linear = {"ppo__learning_rate_schedule": "linear"}
    runs = [
        run_directory(tmp_path / "a", run__total_steps=1000, **linear),
        run_directory(tmp_path / "b", run__total_steps=9000, **linear),
    ]
    assert [name for name, _ in groups(*runs)] == ["total_steps 1000", "total_steps 9000"]


def test_runs_of_unknown_settings_stand_alone_unless_the_user_says_what_they_are(tmp_path: Path) -> None:
    runs = [run_directory(tmp_path / name, run__seed=i) for i, name in enumerate("abc")]
    for name in "bc":
        (tmp_path / name / "config.yaml").unlink()
    curves = [dataclasses.replace(curve, env="X") for curve in read_curves(runs, "return")]
    assert [[c.name for c in series.curves] for series in series_of(curves)] == [["a"], ["b"], ["c"]]
    labelled = [dataclasses.replace(curve, label="ours") for curve in curves]
    assert [[c.name for c in series.curves] for series in series_of(labelled)] == [["a"], ["b", "c"]]


def test_the_folder_of_several_seeds_is_its_runs_in_order(tmp_path: Path) -> None:
    for seed in (10, 9, 1):
        run_directory(tmp_path / "x-seeds" / f"seed-{seed}", run__seed=seed)
    assert groups(str(tmp_path / "x-seeds")) == [("", [f"x-seeds/seed-{seed}" for seed in (1, 9, 10)])]
    assert plot([str(tmp_path / "x-seeds")]) == tmp_path / "x-seeds" / "curve.png"


SETTINGS = settings_of(TrainConfig)
DEFAULTS = values_of(TrainConfig())
CHANGED = {
    path: DEFAULTS[path] * 2 + 1
    for path, setting in SETTINGS.items()
    if setting.type in (int, float) and not path.startswith("env.")
}


@given(first=st.sampled_from(sorted(CHANGED)), second=st.sampled_from(sorted(CHANGED)))
def test_two_curves_are_one_series_exactly_when_no_setting_that_matters_differs(first: str, second: str) -> None:
    one, other = dict(DEFAULTS), dict(DEFAULTS)
    one[first], other[second] = CHANGED[first], CHANGED[second]
    ignored = may_change(TrainConfig) | {"run.seed"}
    curves = [
        Curve("X", name, "", np.ones(1), np.ones(1), np.ones(1), None, {p: v for p, v in s.items() if p not in ignored})
        for name, s in (("a", one), ("b", other))
    ]
    same = first == second or {first, second} <= ignored
    assert (len(series_of(curves)) == 1) == same


def test_every_setting_is_of_the_run_unless_it_is_listed() -> None:
    assert may_change(LearnerConfig) == {
        *("env.step_timeout_seconds", "collect.first_actors"),
        *("run.project", "run.trackers", "run.metrics_address"),
        *("collect.stop_grace_seconds", "collect.lease_seconds", "collect.max_rollout_bytes"),
        *("collect.max_ingress_bytes", "collect.max_actors", "collect.max_envs_per_actor"),
        *("run.directory", "run.total_steps", "run.target_return", "run.stop_at_target", "run.checkpoint_seconds"),
        *("run.checkpoint_share", "run.keep_checkpoints", "run.tensorboard", "run.video_seconds"),
        *("run.torch_threads", "run.device", "run.backend", "run.hooks", "run.evaluate_seconds"),
    }
    assert may_change(TrainConfig) - may_change(LearnerConfig) == {
        "actors",
        "force",
        "evaluation_episodes",
        "evaluation_seconds",
    }
