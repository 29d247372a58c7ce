"""A run of the rule `quota` made again: what is compared, what cannot be, and what a difference is told."""

import json
from pathlib import Path

import pytest
from command_line import run

from dppo.local.replay import ReplayArguments, Version, again, comparable, versions_of
from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build
from dppo.settings.layers import dump_yaml

FIRST = ((0, 8, 0),)
MOVED = ((0, 4, 0), (4, 8, 1))
FLAGS = ("--preset", "none", "--collect.rule", "quota", "--collect.batch-steps", "256", "--ppo.epochs", "1")


def versions(*lives: tuple[tuple[int, int, int], ...]) -> list[Version]:
    return [Version(number, f"{number:064d}", of) for number, of in enumerate(lives, 2)]


def test_versions_are_compared_until_environments_have_moved() -> None:
    made = versions(FIRST, FIRST, MOVED, FIRST)
    assert list(comparable(made, 0)) == [2, 3]
    assert list(comparable(made, 2)) == [2]
    with pytest.raises(UsageError, match=r"under version 3 environments moved .* choose --until 3 or less"):
        comparable(made, 4)
    with pytest.raises(UsageError, match=r"the newest version is 5: there is no version 6 yet"):
        comparable(made, 6)


def test_a_line_that_is_torn_ends_what_is_compared(tmp_path: Path) -> None:
    lines = [json.dumps({"version": v, "sha256": f"{v:064d}", "lives": [[0, 8, 0]]}) + "\n" for v in (2, 3, 4)]
    (tmp_path / "versions.jsonl").write_text(lines[0] + lines[1] + lines[2][:30])
    assert [version.number for version in versions_of(tmp_path)] == [2, 3]
    (tmp_path / "versions.jsonl").write_text(lines[0] + "\0\0\n" + lines[2])
    assert [version.number for version in versions_of(tmp_path)] == [2], "what follows may lack a version"
    (tmp_path / "versions.jsonl").write_text(lines[0] + lines[2])
    assert list(comparable(versions_of(tmp_path), 0)) == [2]


def test_where_nothing_can_be_compared_it_is_said() -> None:
    with pytest.raises(UsageError, match="the newest version is 1: there is no version 2 yet"):
        comparable([], 0)
    with pytest.raises(UsageError, match="no version was made by the first processes of this run"):
        comparable(versions(MOVED), 0)
    with pytest.raises(UsageError, match="until=1 must be at least 2"):
        ReplayArguments("run", until=1)


def test_the_second_run_has_the_settings_of_the_first_in_one_process(tmp_path: Path) -> None:
    values = {"collect.rule": "quota", "collect.envs_per_actor": 2, "actors": 3, "ppo.gamma": 0.5, "run.seed": 7}
    extra = {"run.target_return": 1.0, "run.evaluate_seconds": 5.0}
    (tmp_path / "config.yaml").write_text(dump_yaml(build(TrainConfig, {**values, **extra})))
    config = again(ReplayArguments(str(tmp_path)), tmp_path / "new")
    assert (config.actors, config.learner.collect.envs_per_actor, config.learner.collect.slots) == (0, 6, 6)
    assert (config.learner.ppo.gamma, config.learner.run.seed) == (0.5, 7)
    assert (config.learner.run.target_return, config.learner.run.evaluate_seconds) == (None, 0.0)


def test_the_second_run_has_the_settings_that_the_first_began_with(tmp_path: Path) -> None:
    """Changed settings are in its history; what tells others of a run, or is of its messages, is left out."""
    values = {"collect.rule": "quota", "collect.envs_per_actor": 2, "actors": 8, "collect.batch_steps": 640}
    later = {"run.total_steps": 9_000, "run.trackers": ("wandb",), "collect.segment_steps": 300}
    (tmp_path / "config.yaml").write_text(dump_yaml(build(TrainConfig, {**values, **later})))
    changes = [("run.total_steps", 1_000, 5_000), ("run.total_steps", 5_000, 9_000), ("weights", None, "x")]
    lines = [json.dumps({"field": field, "old": old, "new": new}) + "\n" for field, old, new in changes]
    (tmp_path / "history.jsonl").write_text("".join(lines) + "torn")
    config = again(ReplayArguments(str(tmp_path)), tmp_path / "new").learner
    assert (config.run.total_steps, config.run.trackers) == (1_000, ())
    assert (config.collect.envs_per_actor, config.collect.segment_steps) == (16, 0)


def test_a_run_of_another_rule_or_without_versions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(dump_yaml(TrainConfig()))
    with pytest.raises(UsageError, match=r"collect.rule is minimum, and only runs of the rule quota"):
        again(ReplayArguments(str(tmp_path)), tmp_path / "new")
    (tmp_path / "series" / "seed-1").mkdir(parents=True)
    (tmp_path / "series" / "seed-1" / "config.yaml").touch()
    with pytest.raises(UsageError, match=r"series is no run, but has some in it: name one, for example .*seed-1"):
        again(ReplayArguments(str(tmp_path / "series")), tmp_path / "new")
    with pytest.raises(UsageError, match=r"versions.jsonl cannot be read"):
        versions_of(tmp_path)
    (tmp_path / "versions.jsonl").write_text("{")
    with pytest.raises(UsageError, match=r"versions.jsonl is damaged in its first line"):
        versions_of(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_is_made_again_and_a_version_that_differs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train = ("train", *FLAGS, "--actors", "0", "--collect.envs-per-actor", "4", "--run.total-steps", "1000")
    assert run(*train, "--evaluation-episodes", "0", "--run.directory", "run") == 0
    assert run("replay", "run") == 0
    assert (
        "4 of 4 versions were made again and are equal to the last bit (to version 5 of run)" in capsys.readouterr().out
    )
    file = tmp_path / "run" / "versions.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[1]["sha256"] = "0" * 64
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("replay", "run") == 1
    assert "version 3 differs" in capsys.readouterr().err
    assert run("replay", "run", "--until", "2") == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_that_went_on_with_other_steps_is_made_again_up_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The learning rate falls to 0 at the end of the run that was planned first."""
    monkeypatch.chdir(tmp_path)
    train = ("train", *FLAGS, "--ppo.learning-rate-schedule", "linear", "--collect.envs-per-actor", "4")
    for steps in ("800", "2000"):
        assert run(*train, "--actors", "0", "--run.directory", "run", "--run.total-steps", steps) == 0
    assert len(versions_of(tmp_path / "run")) > 6
    assert run("replay", "run") == 0
    assert "4 of 4 versions were made again and are equal" in capsys.readouterr().out
    assert run("replay", "run", "--until", "7") == 2
    assert "or the learner was started again" in capsys.readouterr().err
    assert run("replay", "nothing") == 2
    assert "there is no run nothing" in capsys.readouterr().err
