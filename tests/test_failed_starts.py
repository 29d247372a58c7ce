"""What a failing start takes with it, and what it leaves."""

from pathlib import Path

import pytest

from dppo.learner.storage.run_directory import RunDirectory
from dppo.local.failed_starts import broken_off_text, removed_where_it_fails
from dppo.protocol.errors import DppoError, RefusedError, UsageError


def fail(directory: Path, error: Exception, *names: str) -> Exception:
    with pytest.raises(type(error)) as caught, removed_where_it_fails(directory):
        _start(directory, error, names)
    return caught.value


def _start(directory: Path, error: Exception, names: tuple[str, ...]) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("made by the start")
    raise error


def test_a_new_directory_goes_with_all_above_it_that_is_new(tmp_path: Path) -> None:
    fail(tmp_path / "a/b/c", DppoError("no"), "config.yaml", "checkpoints/x/y", "logs/actor-0.log")
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    fail(tmp_path, DppoError("no"), "config.yaml", "logs/learner.log")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints/00000001/state.json", "checkpoints/recent"])
def test_what_was_trained_stays(tmp_path: Path, name: str) -> None:
    fail(tmp_path / "run", DppoError("no"), name, "config.yaml")
    assert (tmp_path / "run" / name).exists()
    assert (tmp_path / "run/config.yaml").exists()


@pytest.mark.parametrize("error", [RefusedError("belongs to another learner"), UsageError("no environment")])
def test_of_two_that_were_started_at_once_the_one_that_fails_takes_nothing_from_the_other(
    tmp_path: Path, error: DppoError
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with RunDirectory.open(run):
        (run / "config.yaml").write_text("of the other")
        fail(run, error, "logs/learner.log")
        assert (run / "run.json").exists()
        assert (run / "config.yaml").exists()


def test_a_directory_that_both_made_stays_with_the_one_that_runs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    others: list[RunDirectory] = []

    def start() -> None:
        others.append(RunDirectory.open(run))
        raise UsageError("no environment")

    with pytest.raises(UsageError), removed_where_it_fails(run):
        start()
    assert (run / "run.json").exists()
    others[0].close()


def test_the_log_that_an_error_names_is_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    run = tmp_path / "run"
    text = f"actor-0 keeps dying (log: {run}/logs/actor-0.log)"
    said = str(fail(run, DppoError(text), "logs/actor-0.log"))
    assert not run.exists()
    log = Path(said.partition("(log: ")[2].removesuffix(")"))
    assert log.read_text() == "made by the start"
    assert said.startswith("actor-0 keeps dying")


def test_a_wrong_usage_needs_no_log(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert str(fail(run, UsageError(f"no such thing (log: {run}/logs/a.log)"), "logs/a.log")) == "no such thing"


def interrupted(directory: Path, *names: str) -> bool:
    """Make files, as a start does, and undo it; return whether that was done."""
    with removed_where_it_fails(directory) as undo:
        for name in names:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text("made by the start")
        return undo()


def test_an_interrupted_start_that_has_begun_nothing_leaves_nothing(tmp_path: Path) -> None:
    assert interrupted(tmp_path / "runs/x", "logs/learner.log", "run.json", "lock", "summary.json")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_start_takes_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("mine")
    assert interrupted(tmp_path / "run", "logs/learner.log", "notes.txt")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "notes.txt"]
    assert interrupted(tmp_path / "new", "logs/learner.log", "notes.txt")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["notes.txt"]


def test_an_interrupted_start_before_the_first_update_leaves_nothing(tmp_path: Path) -> None:
    assert interrupted(tmp_path / "run", "checkpoints/00000000/state.json", "journal/1", "ledger.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints/00000001/state.json"])
def test_an_interrupted_run_that_has_trained_stays(tmp_path: Path, name: str) -> None:
    assert not interrupted(tmp_path, "logs/learner.log", name)
    assert (tmp_path / "logs/learner.log").exists()


def test_an_interrupted_start_that_went_on_with_a_run_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal/1").write_text("acknowledged")
    assert not interrupted(tmp_path, "logs/learner.log")
    assert (tmp_path / "logs/learner.log").exists()


def test_an_interrupted_start_names_no_checkpoints_that_are_not_there(tmp_path: Path) -> None:
    assert "nothing was trained" in broken_off_text(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    assert "nothing was trained" in broken_off_text(tmp_path)
    (tmp_path / "checkpoints" / "00000001").mkdir()
    assert broken_off_text(tmp_path).endswith(f"what it saved: {tmp_path / 'checkpoints'}")
