"""The lock of a run directory: one learner at a time, and a learner that lost its directory ends."""

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dppo.learner.storage import run_lock
from dppo.learner.storage.run_directory import RunDirectory
from dppo.protocol.errors import DppoError, RefusedError, UsageError

HOLD = """
import sys
from dppo.learner.storage.run_directory import RunDirectory
with RunDirectory.open(sys.argv[1]) as run:
    print(run.start, flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "1"
    return process


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
