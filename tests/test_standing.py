"""Standing of a command to the run in its directory: begins, goes on, finds it finished, or is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from begun_runs import begin, config, refused
from snapshots import snapshot

from dppo.learner.storage.progress import Progress, over_because
from dppo.learner.storage.run_directory import RunDirectory
from dppo.learner.storage.settings_history import KeptSettings, Moment, has_begun, keep_settings
from dppo.local.launching import checked, refuse_root, with_run
from dppo.local.run_comparison import free_directory, kept_settings, stand
from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import dump_yaml


def test_an_empty_directory_and_a_missing_one_are_begun(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        assert not stand(config(directory)).begun


def test_a_directory_in_which_nothing_was_trained_may_have_other_settings(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(dump_yaml(config(tmp_path, **{"ppo.gamma": 0.5})))
    assert not stand(config(tmp_path)).begun


def test_a_run_that_was_moved_is_the_same_run(tmp_path: Path) -> None:
    begin(tmp_path / "a", config(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    assert stand(config(tmp_path / "b")).changes == ()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no config.yaml"),
        ("ppo: {gamma: 0.99", "is not valid YAML"),
        ("ppo: {discount: 0.99}", "unknown key ppo.discount"),
        ("ppo: {gamma: high}", "'high' is not a number"),
        ("[]", "the top level must be a mapping"),
        (b"\xff\xfe", "not a text file"),
    ],
)
def test_a_run_whose_settings_cannot_be_read_is_left_alone(
    tmp_path: Path, content: str | bytes | None, complaint: str
) -> None:
    begin(tmp_path, config(tmp_path))
    (tmp_path / "config.yaml").unlink()
    if content is not None:
        (tmp_path / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    text = refused(config(tmp_path))
    assert complaint in text
    assert "Put its config.yaml back" in text
    assert "--run.new" in text


@pytest.mark.parametrize(
    ("progress", "flags", "over"),
    [
        (Progress(updates=3, steps=300), {"run.total_steps": 300}, "300 of 300 steps are done"),
        (Progress(updates=3, steps=300974), {"run.total_steps": 300000}, "300,974 of 300,000 steps are done"),
        (Progress(updates=3, steps=300), {"run.total_steps": 301}, ""),
        (
            Progress(updates=3, steps=300, solved_steps=200, solved_return=5.0),
            {"run.target_return": 5.0},
            "solved: mean return of 100 episodes reached 5",
        ),
        (
            Progress(updates=3, steps=300, solved_steps=200, solved_return=5.0),
            {"run.target_return": 4.0},
            "solved: mean return of 100 episodes reached 4",
        ),
        (Progress(updates=3, steps=300, solved_steps=200, solved_return=5.0), {"run.target_return": 6.0}, ""),
        (
            Progress(updates=3, steps=300, solved_steps=200, solved_return=5.0),
            {"run.target_return": 5.0, "run.stop_at_target": False},
            "",
        ),
    ],
)
def test_a_finished_run_is_known_without_being_started(
    tmp_path: Path, progress: Progress, flags: dict[str, Any], over: str
) -> None:
    begin(tmp_path, config(tmp_path), progress)
    assert stand(config(tmp_path, **flags)).over == over


def test_a_run_killed_before_its_results_were_written_is_not_finished(tmp_path: Path) -> None:
    flags = {"run.total_steps": 300}
    begin(tmp_path, config(tmp_path, **flags), summary=False)
    assert stand(config(tmp_path, **flags)).over == ""
    (tmp_path / "summary.json").write_text(json.dumps({"updates": 2, "steps": 200}))
    assert stand(config(tmp_path, **flags)).over == ""


def test_a_checkpoint_of_the_release_before_counts_as_solved_for_its_target() -> None:
    progress = Progress(updates=3, steps=300, solved_steps=200)
    run = config(Path("x"), **{"run.target_return": 5.0}).learner.run
    assert over_because(progress, run).startswith("solved")


@pytest.mark.parametrize(
    "name", ["checkpoints/00000000/state.json", "checkpoints/recent", "metrics.jsonl", "journal/1"]
)
def test_any_result_makes_it_a_run(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    assert has_begun(tmp_path)
    file.unlink()
    if file.parent != tmp_path:
        file.parent.rmdir()
    assert not has_begun(tmp_path)


def test_changes_are_noted_with_the_moment_and_the_file_is_written_only_where_it_changes(tmp_path: Path) -> None:
    begin(tmp_path, config(tmp_path))
    changed = config(tmp_path, actors=5, **{"run.total_steps": 7})
    with RunDirectory.open(tmp_path) as directory:
        kept = kept_settings(changed)
        keep_settings(directory, kept, Moment(time=0.0, start=2, update=3, steps=300))
        lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
        assert [(line["field"], line["old"], line["new"]) for line in lines] == [
            ("run.total_steps", 1_000_000, 7),
            ("actors", 2, 5),
        ]
        assert lines[0] | {"field": "", "old": 0, "new": 0} == {
            **{"time": "1970-01-01T00:00:00+00:00", "start": 2, "update": 3, "steps": 300},
            **{"field": "", "old": 0, "new": 0},
        }
        assert (tmp_path / "config.yaml").read_text() == dump_yaml(changed)
        before = snapshot(tmp_path)
        keep_settings(directory, KeptSettings(dump_yaml(changed)), Moment(1.0, 3, 3, 300))
        assert snapshot(tmp_path) == before


def test_the_settings_are_compared_under_the_lock_before_the_start_is_counted(tmp_path: Path) -> None:
    begin(tmp_path, config(tmp_path))
    with RunDirectory.open(tmp_path):
        pass
    counted = (tmp_path / "run.json").read_bytes()

    def refuse() -> None:
        raise UsageError("other settings")

    with pytest.raises(UsageError, match="other settings"):
        RunDirectory.open(tmp_path, refuse)
    assert (tmp_path / "run.json").read_bytes() == counted
    RunDirectory.open(tmp_path).close()  # the lock was given back


def test_the_next_free_name_counts_from_two_and_sees_dangling_links(tmp_path: Path) -> None:
    wanted = tmp_path / "Pendulum-v1"
    assert free_directory(wanted) == wanted
    wanted.mkdir()
    (tmp_path / "Pendulum-v1-2").symlink_to("nowhere")
    assert free_directory(wanted) == tmp_path / "Pendulum-v1-3"


def test_a_run_in_the_working_directory_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    (here / "below").mkdir(parents=True)
    begin(here, config(here))
    for at, name in ((here, "."), (here / "below", "..")):
        monkeypatch.chdir(at)
        assert f"--run.new ({tmp_path}/here-2)" in refused(config(Path(name), **{"run.seed": 2}))


def test_the_run_that_weights_come_from_is_the_same_by_any_of_its_names(tmp_path: Path) -> None:
    begin(tmp_path / "old", config(tmp_path / "old"))
    asked = config(tmp_path / "new", **{"run.init_from": str(tmp_path / "old")})
    begin(tmp_path / "new", asked)
    (tmp_path / "link").symlink_to("old")
    for name in ("old/", "./old", "new/../old", "link"):
        again = config(tmp_path / "new", **{"run.init_from": f"{tmp_path}/{name}"})
        assert checked(again).changes == ()
    assert "run.init_from" in refused(config(tmp_path / "new"))


def test_a_folder_of_seeds_is_no_place_for_a_single_run(tmp_path: Path) -> None:
    begin(tmp_path / "seed-1", config(tmp_path / "seed-1"))
    assert "holds runs of several seeds" in refused(config(tmp_path))


def test_a_run_without_a_name_makes_nothing_in_the_root_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run in the root of a container without a working directory: a name, or a volume at /runs, makes it meant."""
    monkeypatch.setattr(Path, "cwd", classmethod(lambda cls: Path("/")))
    monkeypatch.chdir(tmp_path)
    unnamed = TrainConfig()
    with pytest.raises(UsageError, match=r"would make /.*runs there: .*--run.directory .*/runs/CartPole-v1 is allowed"):
        checked(unnamed)
    assert not (tmp_path / "runs").exists()
    refuse_root(with_run(unnamed, directory="runs/mine"))
    (tmp_path / "runs").mkdir()
    refuse_root(unnamed)
