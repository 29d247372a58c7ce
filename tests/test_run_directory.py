"""The run directory: one learner at a time, every start counted, what it runs on noted."""

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dppo.learner import atomic_files as replacing_files
from dppo.learner.appended_file import AppendedFile
from dppo.learner.storage import provenance, run_directory, run_lock
from dppo.learner.storage.run_directory import DIRECTORIES, FILES, RunDirectory
from dppo.protocol.errors import CheckpointError, DppoError, RefusedError, UsageError

HOLD = """
import sys
from dppo.learner.storage.run_directory import RunDirectory
with RunDirectory.open(sys.argv[1]) as run:
    print(run.start, flush=True)
    sys.stdin.read()
"""


def append(path: Path, content: bytes) -> None:
    AppendedFile(path).append(content)


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
        assert run.start == 1
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
            starts.append((run.run_id, run.term, run.start, run.former_terms))
    assert [start for _, _, start, _ in starts] == [1, 2, 3]
    assert len({run_id for run_id, *_ in starts}) == 1
    terms = [term for _, term, _, _ in starts]
    assert terms == sorted(set(terms))
    assert [former for *_, former in starts] == [frozenset(terms[:n]) for n in range(3)]


@pytest.mark.parametrize("copied", ["put back to a backup", "copied while it runs"])
def test_no_epoch_is_given_out_twice_whatever_is_restored_or_copied(tmp_path: Path, copied: str) -> None:
    for _ in range(3):
        RunDirectory.open(tmp_path / "run").close()
    shutil.copytree(tmp_path / "run", tmp_path / "backup")
    with RunDirectory.open(tmp_path / "run") as lost:
        if copied == "put back to a backup":
            (tmp_path / "run").rename(tmp_path / "gone")
            shutil.copytree(tmp_path / "backup", tmp_path / "run")
        with RunDirectory.open(tmp_path / ("run" if copied == "put back to a backup" else "backup")) as other:
            assert (other.run_id, other.start) == (lost.run_id, lost.start)
            assert other.term != lost.term
            assert lost.term not in other.former_terms
            assert other.former_terms == lost.former_terms


def test_a_directory_of_an_older_release_goes_on_with_its_count(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"run_id": "0123456789abcdef", "term": 7}')
    with RunDirectory.open(tmp_path) as run:
        assert (run.run_id, run.start, run.former_terms) == ("0123456789abcdef", 8, frozenset({7}))
        assert 0 < run.term < 2**53


@pytest.mark.parametrize("harm", ["deleted", "replaced"])
def test_the_lock_holds_without_its_file(tmp_path: Path, harm: str) -> None:
    first = holder(tmp_path)
    try:
        (tmp_path / "lock").unlink()
        if harm == "replaced":
            (tmp_path / "lock").write_text("")
        with pytest.raises(RefusedError, match="belongs to the learner with"):
            RunDirectory.open(tmp_path)
    finally:
        first.communicate()


def test_that_a_learner_is_running_is_found_out_without_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run_lock.refuse_if_held(path)
    assert not path.exists()
    with RunDirectory.open(path):
        (path / "lock").unlink()
        with pytest.raises(RefusedError, match="belongs to the learner with an unknown pid, which is running"):
            run_lock.refuse_if_held(path)
        assert not (path / "lock").exists()
    run_lock.refuse_if_held(path)


@pytest.mark.parametrize("harm", ["renamed", "renamed and made again", "deleted"])
def test_a_learner_notices_that_its_directory_is_not_there_any_more(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "run"
    with RunDirectory.open(path) as run:
        run.check_lock(1.0)
        path.rename(tmp_path / "elsewhere")
        if harm == "renamed and made again":
            RunDirectory.open(path).close()
        if harm == "deleted":
            shutil.rmtree(tmp_path / "elsewhere")
        run.check_lock(1.2)  # twice a second is enough
        with pytest.raises(DppoError, match="is no longer this learner's: it was moved, deleted or replaced") as caught:
            run.check_lock(2.0)
        assert "\n" not in str(caught.value)


def no_directory_locks(monkeypatch: pytest.MonkeyPatch, number: int, files_too: bool = False) -> None:
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if files_too or stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor, operation)

    monkeypatch.setattr(run_lock.fcntl, "flock", flock)


def test_where_directories_cannot_be_locked_the_file_is_and_its_loss_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_directory_locks(monkeypatch, errno.EBADF)
    run = RunDirectory.open(tmp_path)
    with pytest.raises(RefusedError, match=rf"pid {os.getpid()} on "):
        RunDirectory.open(tmp_path)
    run.check_lock(1.0)
    (tmp_path / "lock").unlink()
    second = RunDirectory.open(tmp_path)  # nothing can keep it out; so the first one must end
    with pytest.raises(DppoError, match="its file lock was deleted or replaced"):
        run.check_lock(2.0)
    second.check_lock(2.0)
    monkeypatch.undo()
    run.close()
    second.close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    no_directory_locks(monkeypatch, number, files_too=True)
    with pytest.raises(UsageError, match=r"is on a file system without locks .*: choose a run.directory") as caught:
        RunDirectory.open(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("name", [*FILES, *DIRECTORIES, ".policy.onnx.new", "checkpoints/.recent.new", "logs/a.log"])
def test_a_symbolic_link_in_a_run_directory_is_refused_and_its_target_untouched(tmp_path: Path, name: str) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    place = tmp_path / "run" / name
    place.parent.mkdir(exist_ok=True)
    if place.is_dir():
        place.rmdir()
    place.symlink_to(victim)
    with pytest.raises(UsageError, match="symbolic link") as caught:
        RunDirectory.open(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert victim.read_text() == "precious"
    assert place.is_symlink()


def test_a_run_directory_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    with RunDirectory.open(tmp_path / "run") as run:
        run.check_lock(1.0)
        with pytest.raises(RefusedError, match="belongs to the learner"):
            RunDirectory.open(tmp_path / "disk")


@pytest.mark.parametrize("what", ["link", "dangling link", "pipe", "directory"])
@pytest.mark.parametrize("write", [replacing_files.replace_file, replacing_files.replace_file_durably, append])
def test_a_file_laid_in_the_way_while_a_run_goes_on_is_an_error_and_nothing_blocks(
    tmp_path: Path, what: str, write: Callable[[Path, bytes], None]
) -> None:
    victim, file = tmp_path / "victim", tmp_path / "metrics.jsonl"
    if what == "link":
        victim.write_text("precious")
    place = file if write is append else tmp_path / ".metrics.jsonl.new"
    if what == "pipe":
        os.mkfifo(place)
    elif what == "directory":
        place.mkdir()
    else:
        place.symlink_to(victim)
    with pytest.raises(OSError, match=r"symbolic link|regular file|Is a directory"):
        write(file, b"line")
    assert victim.exists() == (what == "link")
    assert not victim.exists() or victim.read_text() == "precious"


def test_two_runs_have_two_ids(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "a") as a, RunDirectory.open(tmp_path / "b") as b:
        assert a.run_id != b.run_id


def test_the_start_is_counted_on_disk_before_it_is_used(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path) as run:
        assert json.loads((tmp_path / "run.json").read_text()) == {
            "run_id": run.run_id,
            "term": run.term,
            "start": 1,
            "former_terms": [],
        }


def test_a_second_learner_is_refused_and_told_the_pid_of_the_first(tmp_path: Path) -> None:
    first = holder(tmp_path)
    try:
        with pytest.raises(RefusedError, match=rf"belongs to the learner with pid {first.pid} on ") as caught:
            RunDirectory.open(tmp_path)
        assert "\n" not in str(caught.value)
        assert json.loads((tmp_path / "run.json").read_text())["start"] == 1  # a refused start is not one
    finally:
        first.communicate()


def test_a_killed_learner_leaves_no_lock_behind(tmp_path: Path) -> None:
    first = holder(tmp_path)
    first.kill()
    first.communicate()
    with RunDirectory.open(tmp_path) as run:
        assert run.start == 2


def test_a_closed_directory_is_free_even_where_a_forked_child_still_has_the_file(tmp_path: Path) -> None:
    run = RunDirectory.open(tmp_path)
    inherited = []
    for descriptor in run._lock.descriptors:
        assert not os.get_inheritable(descriptor)  # programs that were started do not have it
        inherited.append(os.dup(descriptor))
    run.close()
    RunDirectory.open(tmp_path).close()
    for descriptor in inherited:
        os.close(descriptor)


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
        assert run.start == 1


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
