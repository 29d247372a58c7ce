"""Machines that are full, read-only or out of something: one line that names the file and what to do, never a bug."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
import zmq

from dppo import cli
from dppo.learner.appended_file import AppendedFile
from dppo.learner.atomic_files import replace_file, replace_file_durably
from dppo.learner.config import LearnerConfig
from dppo.learner.regular_files import write_own
from dppo.learner.storage.run_directory import RunDirectory, cannot_be_used, check_start
from dppo.local.launching import checked
from dppo.local.preflight import check_before_start
from dppo.local.process_end import is_of_output
from dppo.local.processes import Child
from dppo.output_files import check_output, why_not_made
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.lifeline import Lifeline
from dppo.protocol.process.machine_trouble import TO_DO, trouble
from dppo.protocol.process.resources import Room
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build
from dppo.watch.run_list import find_runs
from dppo.watch.video_file import Mp4

TEMPORARY = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']")


@pytest.mark.parametrize("number", TO_DO)
def test_a_condition_of_the_machine_names_the_file_and_what_to_do(number: int) -> None:
    line = trouble(OSError(number, os.strerror(number), "/somewhere/file"))
    assert line == f"/somewhere/file: {os.strerror(number)}; {TO_DO[number]}"
    assert trouble(zmq.ZMQError(number)).endswith(TO_DO[number])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TEMPORARY, "set TMPDIR to a folder"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "not enough memory"),
        (RuntimeError("a bug"), ""),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), ""),
        (KeyError("x"), ""),
    ],
)
def test_what_is_no_condition_of_the_machine_keeps_its_traceback(error: Exception, words: str) -> None:
    line = trouble(error)
    assert words in line
    assert bool(line) == bool(words)


@pytest.mark.parametrize("error", [TEMPORARY, PermissionError(errno.EACCES, "Permission denied", "/x"), MemoryError()])
def test_a_command_ends_with_that_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> NoReturn:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "runs", fail)
    assert cli.run_command(["runs"]) == 1
    assert capsys.readouterr().err.splitlines() == [f"dppo: error: {trouble(error)}"]


def test_a_bug_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> NoReturn:
        raise ZeroDivisionError

    monkeypatch.setitem(cli.COMMANDS, "runs", fail)
    with pytest.raises(ZeroDivisionError):
        cli.run_command(["runs"])


@pytest.fixture
def no_room() -> Iterator[Callable[[], None]]:
    """A function from which on no file of this process may grow; the system names no file in that error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [replace_file, replace_file_durably, write_own])
def test_a_write_that_fails_names_its_file(
    write: Callable[[Path, bytes], None], tmp_path: Path, no_room: Callable[[], None]
) -> None:
    no_room()
    with pytest.raises(OSError, match="File too large") as caught:
        write(tmp_path / "file", b"content")
    assert caught.value.filename == str(tmp_path / "file")
    assert not is_of_output(caught.value)


def test_a_record_that_cannot_be_appended_names_its_file(tmp_path: Path, no_room: Callable[[], None]) -> None:
    no_room()
    with pytest.raises(OSError, match="File too large") as caught:
        AppendedFile(tmp_path / "file").append(b"content")
    assert caught.value.filename == str(tmp_path / "file")


@pytest.mark.parametrize(("output", "printed"), [("/dev/full", True), ("/dev/null", True), ("", False)])
def test_a_full_disk_is_that_of_the_output_only_where_that_is_a_file(output: str, printed: bool) -> None:
    code = (
        "import errno; from dppo.local.process_end import is_of_output; print(is_of_output(OSError(errno.ENOSPC, '')))"
    )
    code = code.replace("print(", "import os; os.write(2, str(").replace("'')))", "''))).encode())")
    with open(output or os.devnull, "w") as file:
        stdout = file if output else subprocess.PIPE
        found = subprocess.run([sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, check=True)
    assert found.stderr == str(printed).encode()


def read_only(monkeypatch: pytest.MonkeyPatch, flag: int) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda *_: SimpleNamespace(f_flag=flag))


@pytest.mark.parametrize(("flag", "why"), [(os.ST_RDONLY, "Read-only file system"), (0, "Permission denied")])
def test_a_disk_that_is_read_only_is_not_taken_for_a_lack_of_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: int, why: str
) -> None:
    read_only(monkeypatch, flag)
    for check in (
        lambda: check_start(tmp_path / "run"),
        lambda: check_output(str(tmp_path / "new" / "x.png")),
        lambda: check_output(str(tmp_path / "x.png")),
    ):
        with pytest.raises(UsageError, match=why):
            check()
    assert why_not_made(tmp_path / "runs" / "x") == why


def test_a_file_in_the_place_of_a_folder_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert why_not_made(tmp_path / "file" / "runs") == "Not a directory"
    assert why_not_made(tmp_path / "new" / "runs") == ""


def test_a_full_disk_is_to_be_freed_not_to_be_made_writable(tmp_path: Path, no_room: Callable[[], None]) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert "No space left on device. Free space there or choose another" in str(cannot_be_used(tmp_path, full))
    no_room()
    with pytest.raises(UsageError, match=r"cannot be used: File too large. Make it writable or choose"):
        RunDirectory.open(tmp_path / "run")


def test_a_process_that_could_log_nothing_ends_for_that_reason(tmp_path: Path, no_room: Callable[[], None]) -> None:
    with Lifeline() as lifeline:
        child = Child("learner", ("-c", "raise SystemExit(1)"), tmp_path / "learner.log", lifeline)
        child.start()
        assert child.process is not None
        child.process.wait()
        no_room()
        assert child.died() == 1
    assert child.last_error() == f"its log cannot be written: File too large; {TO_DO[errno.EFBIG]}"


def test_an_encoder_that_ends_is_no_fault_of_the_environments() -> None:
    def broken(frame: np.ndarray) -> NoReturn:
        raise OSError("[Errno 32] Broken pipe\n\nFFMPEG COMMAND:\n...")

    film = object.__new__(Mp4)
    film._frames, film._writer = 0, SimpleNamespace(append_data=broken)
    with pytest.raises(DppoError, match=r"ffmpeg has ended. Is the disk full") as caught:
        film.add(np.zeros((4, 4, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_where_no_actor_fits_one_process_is_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dppo.local.preflight.room", lambda: Room(2**40, 10_000, 64))
    with pytest.raises(UsageError, match="at most 0 fit; choose --actors 0, which is one process, or --force"):
        check_before_start(TrainConfig(actors=1, learner=LearnerConfig()), lambda text: None)


def test_a_private_folder_hides_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine", "private"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("env:\n  id: CartPole-v1\n")
    stat = os.stat

    def refuse(path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        if "private/" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *arguments, **named)

    monkeypatch.setattr(os, "stat", refuse)
    assert [found.path.name for found in find_runs(tmp_path)] == ["mine"]


def test_weights_that_may_not_be_read_are_no_fault_of_the_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, which: str) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", f"{name}/checkpoints")

    monkeypatch.setattr("dppo.local.launching.find_source", refuse)
    config = build(TrainConfig, {"run.directory": str(tmp_path / "new"), "run.init_from": str(tmp_path)})
    with pytest.raises(UsageError, match=r"^run\.init_from=\S+ cannot be read: Permission denied$"):
        checked(config)


@pytest.mark.slow
def test_a_home_that_cannot_be_written_to_costs_no_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = "from dppo.figures import new_figure; new_figure(figsize=(1, 1))"
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "file" / "x")}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert (found.stdout, found.stderr) == (b"", b"")
