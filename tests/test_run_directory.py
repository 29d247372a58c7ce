"""The run directory: one learner at a time, every start counted, what it runs on noted."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from learner import provenance, replacing_files, run_directory
from learner.run_directory import RunDirectory
from protocol.errors import CheckpointError, RefusedError, UsageError

HOLD = """
import sys
from learner.run_directory import RunDirectory
with RunDirectory.open(sys.argv[1]) as run:
    print(run.epoch, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def quick_provenance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_directory, "provenance", lambda: {"python": "3"})


def holder(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "1"
    return process


def test_a_new_directory_is_made_with_all_above_it(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "runs" / "pendulum") as run:
        assert run.path == tmp_path / "runs" / "pendulum"
        assert run.checkpoints.is_dir()
        assert run.epoch == 1
        assert len(run.run_id) == 16


def test_the_paths_are_those_of_the_documentation(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path) as run:
        paths = (run.config, run.checkpoints, run.policy, run.metrics, run.ledger, run.events)
        names = [str(path.relative_to(tmp_path)) for path in paths]
    assert names == ["config.yaml", "checkpoints", "policy.onnx", "metrics.jsonl", "ledger.json", "tb"]


def test_every_start_counts_up_and_the_run_id_stays(tmp_path: Path) -> None:
    starts = []
    for _ in range(3):
        with RunDirectory.open(tmp_path) as run:
            starts.append((run.run_id, run.epoch))
    assert [epoch for _, epoch in starts] == [1, 2, 3]
    assert len({run_id for run_id, _ in starts}) == 1


def test_two_runs_have_two_ids(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "a") as a, RunDirectory.open(tmp_path / "b") as b:
        assert a.run_id != b.run_id


def test_the_start_is_counted_on_disk_before_it_is_used(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path) as run:
        assert json.loads((tmp_path / "run.json").read_text()) == {"run_id": run.run_id, "epoch": 1}


def test_a_second_learner_is_refused_and_told_the_pid_of_the_first(tmp_path: Path) -> None:
    first = holder(tmp_path)
    try:
        with pytest.raises(RefusedError, match=rf"belongs to the learner with pid {first.pid} on ") as caught:
            RunDirectory.open(tmp_path)
        assert "\n" not in str(caught.value)
        assert json.loads((tmp_path / "run.json").read_text())["epoch"] == 1  # a refused start is not one
    finally:
        first.communicate()


def test_a_killed_learner_leaves_no_lock_behind(tmp_path: Path) -> None:
    first = holder(tmp_path)
    first.kill()
    first.communicate()
    with RunDirectory.open(tmp_path) as run:
        assert run.epoch == 2


def test_a_closed_directory_is_free_even_where_a_forked_child_still_has_the_file(tmp_path: Path) -> None:
    run = RunDirectory.open(tmp_path)
    assert not os.get_inheritable(run._lock)  # programs that were started do not have it
    inherited = os.dup(run._lock)
    run.close()
    RunDirectory.open(tmp_path).close()
    os.close(inherited)


def test_a_damaged_identity_is_an_error_and_gives_the_lock_back(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"run_id": "12')
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"run\.json is damaged"):
            RunDirectory.open(tmp_path)


def test_a_file_in_the_place_of_the_directory_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UsageError, match="cannot be used: "):
        RunDirectory.open(tmp_path / "run")


def test_a_full_disk_at_the_start_is_a_usage_error_and_gives_the_lock_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_directory, "replace_file_durably", full)
    with pytest.raises(UsageError, match="No space left on device"):
        RunDirectory.open(tmp_path)
    monkeypatch.undo()
    with RunDirectory.open(tmp_path) as run:
        assert run.epoch == 1


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path) as run:
        before = {path.name for path in tmp_path.iterdir()}
        run.write_atomic("policy.onnx", b"first")
        run.write_atomic("policy.onnx", b"second")
        assert run.policy.read_bytes() == b"second"
        assert {path.name for path in tmp_path.iterdir()} == before | {"policy.onnx"}


@pytest.mark.parametrize("replace", [replacing_files.replace_file, replacing_files.replace_file_durably])
def test_a_replacement_killed_halfway_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: "type[replacing_files.replace_file]"
) -> None:
    file = tmp_path / "file"
    replace(file, b"old")

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        replace(file, b"new")
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    replace(file, b"newer")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_start_runs_on_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_directory, "provenance", provenance.provenance)
    with RunDirectory.open(tmp_path) as run:
        record = run.environment()
    assert record == json.loads((tmp_path / "environment.json").read_text())
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["cpus"] >= record["usable_cpus"] >= 1
    assert record["versions"]["numpy"].count(".") == 2
    assert "torch" in record["versions"]


def test_a_distribution_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "DISTRIBUTIONS", ("no-such-distribution",))
    assert provenance.provenance()["versions"]["no-such-distribution"] is None


def test_the_revision_is_of_this_checkout_or_none(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    checkout = tmp_path.resolve()
    assert provenance.git_revision(checkout) is None
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    revision = git("rev-parse", "HEAD")
    assert provenance.git_revision(checkout) == revision
    (tmp_path / "file").write_text("two")
    assert provenance.git_revision(checkout) == f"{revision}+changes"
    (tmp_path / "site-packages").mkdir()  # of a virtual environment inside somebody's checkout
    assert provenance.git_revision(checkout / "site-packages") is None
