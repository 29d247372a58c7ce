"""The run directory: its files, every start counted, links and damage refused, files replaced as a whole."""

import errno
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dppo.learner import atomic_files as replacing_files
from dppo.learner.appended_file import AppendedFile
from dppo.learner.storage import run_directory
from dppo.learner.storage.run_directory import DIRECTORIES, FILES, RunDirectory
from dppo.protocol.errors import CheckpointError, RefusedError, UsageError


def append(path: Path, content: bytes) -> None:
    AppendedFile(path).append(content)


def test_a_new_directory_is_made_with_all_above_it(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "runs" / "pendulum") as run:
        assert run.path == tmp_path / "runs" / "pendulum"
        assert run.checkpoints.is_dir()
        assert run.start == 1
        assert len(run.run_id) == 16


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
        assert (tmp_path / "policy.onnx").read_bytes() == b"second"
        assert {path.name for path in tmp_path.iterdir()} == before | {"policy.onnx"}


@pytest.mark.parametrize("replace", [replacing_files.replace_file, replacing_files.replace_file_durably])
def test_a_replacement_that_a_full_disk_cuts_off_leaves_nothing_of_itself(
    tmp_path: Path, replace: "type[replacing_files.replace_file]"
) -> None:
    file = tmp_path / "file"
    replace(file, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (100, before[1])
    )  # what a full disk does: a part is written, then an error
    try:
        with pytest.raises(OSError, match="File too large"):
            replace(file, bytes(1_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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
