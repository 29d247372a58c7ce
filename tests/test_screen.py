"""Output that nobody takes: what is drawn, printed and logged may block for as long as it likes; nothing else does."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from processes import REPOSITORY
from test_progress import STATUS

from dppo.learner.telemetry.status import Status
from dppo.local import background
from dppo.local.background import MOST_WAITING, Background, own_stream
from dppo.local.drawing_thread import Screen
from dppo.local.progress import Progress
from scripts.ports import free_port

PATIENCE_SECONDS = 20.0


class Blocked(Progress):
    """A terminal in which Ctrl-S was pressed."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.drawing = threading.Event()
        self.shown: list[str] = []

    def __enter__(self) -> "Blocked":
        return self

    def __exit__(self, *_: object) -> None:
        self.shown.append("the end")

    def show(self, status: Status) -> None:
        self.drawing.set()
        self.go_on.wait(PATIENCE_SECONDS)
        self.shown.append(f"update {status.updates}")

    def note(self, text: str) -> None:
        self.shown.append(text)


def status(update: int) -> Status:
    return msgspec.structs.replace(STATUS, updates=update)


def test_all_is_shown_in_order_and_of_the_statuses_the_newest(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Blocked()
    with Screen(progress) as screen:
        screen.show(status(1))
        assert progress.drawing.wait(PATIENCE_SECONDS)
        for update in range(2, 50):
            screen.show(status(update))
        screen.note("a note")
        progress.go_on.set()
    assert progress.shown == ["update 1", "update 49", "a note", "the end"]
    screen.note("after the end")
    assert capsys.readouterr().out == "after the end\n"


def test_what_a_status_starts_is_started_in_the_same_thread() -> None:
    progress, looked = Blocked(), []
    progress.go_on.set()
    with Screen(progress, look=lambda seen: looked.append((seen.updates, threading.current_thread().name))) as screen:
        screen.show(status(3))
    assert looked == [(3, "screen")]


def test_showing_and_noting_return_at_once_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Blocked()
    monkeypatch.setattr(background, "LAST_SECONDS", 0.05)
    monkeypatch.setattr(Background.close, "__defaults__", (0.05,))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    since = time.monotonic()
    with Screen(progress) as screen:
        screen.show(status(1))
        assert progress.drawing.wait(PATIENCE_SECONDS)
        for number in range(3 * MOST_WAITING):
            screen.show(status(number))
            screen.note(str(number))
        assert len(screen._background._waiting) == MOST_WAITING
        assert screen._background.left_out >= 2 * MOST_WAITING
    assert time.monotonic() - since < PATIENCE_SECONDS / 2  # nor does the end wait for ever
    print("results")  # goes nowhere, and does not block
    sys.stdout.close()
    progress.go_on.set()


def test_a_reader_that_is_gone_is_heard_of_with_the_next_line() -> None:
    """As after `| head`: the command ends."""
    done = threading.Event()

    def gone() -> None:
        done.set()
        raise BrokenPipeError

    thread = Background("test")
    thread.do(gone)
    assert done.wait(PATIENCE_SECONDS)

    def lines() -> None:
        for _ in range(1000):
            thread.do(lambda: None)
            time.sleep(0.001)

    with pytest.raises(BrokenPipeError):
        lines()
    assert thread.close(PATIENCE_SECONDS)


def test_a_thread_that_is_blocked_keeps_no_lock_that_the_others_need(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        own = own_stream(file)
        assert own is not file
        print("from the thread", file=own, flush=True)
        print("from the others", file=file, flush=True)
        own.close()
    assert (tmp_path / "out").read_text() == "from the thread\nfrom the others\n"


# Real processes, whose output nobody takes


@contextlib.contextmanager
def full_terminal() -> Iterator[int]:
    """A terminal that is not read any more, as after Ctrl-S: not one more byte goes in."""
    master, slave = pty.openpty()
    os.set_blocking(slave, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(slave, b"." * 64)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(slave, b".")
    os.set_blocking(slave, True)
    yield slave
    os.close(slave)
    os.close(master)


@contextlib.contextmanager
def full_pipe() -> Iterator[int]:
    """A pipe whose reader has stopped."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"." * 512)
    os.set_blocking(writer, True)
    yield writer
    os.close(writer)
    os.close(reader)


def start(directory: Path, *arguments: str, output: int, errors: int) -> "subprocess.Popen[bytes]":
    own = {name: value for name, value in os.environ.items() if not name.startswith("DPPO_")}
    return subprocess.Popen(
        [sys.executable, "-m", "dppo.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        cwd=directory,
        env=own | {"PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )


def until(condition: Callable[[], Any], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def end(*processes: "subprocess.Popen[bytes]") -> None:
    for process in processes:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


SHORT = ("--env", "CartPole-v1", "--run.directory", "run", "--run.total-steps", "6000", "--evaluation-episodes", "0")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("output", [full_terminal, full_pipe])
@pytest.mark.parametrize("actors", ["1", "0"])
def test_a_local_run_comes_to_its_end(
    tmp_path: Path, output: Callable[[], "contextlib.AbstractContextManager[int]"], actors: str
) -> None:
    with output() as full, (tmp_path / "errors").open("wb") as errors:
        command = start(tmp_path, "train", *SHORT, "--actors", actors, output=full, errors=errors.fileno())
        try:
            until(lambda: command.poll() is not None, "it ends")
        finally:
            end(command)
    assert command.returncode == 0, (tmp_path / "errors").read_text()
    summary = json.loads((tmp_path / "run" / "summary.json").read_bytes())
    assert summary["steps"] >= 6000


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("output", [full_terminal, full_pipe])
def test_a_learner_and_its_actor_go_on_and_end(
    tmp_path: Path, output: Callable[[], "contextlib.AbstractContextManager[int]"]
) -> None:
    bind = f"tcp://127.0.0.1:{free_port()}"
    with output() as full, output() as other, (tmp_path / "errors").open("wb") as errors:
        arguments = (*SHORT, "--bind", bind, "--write-join-file", str(tmp_path / "line"))
        learner = start(tmp_path, "learner", *arguments, output=full, errors=errors.fileno())
        actor = start(tmp_path, "actor", "--join-file", str(tmp_path / "line"), output=other, errors=other)
        try:
            until(lambda: learner.poll() is not None, "the learner ends")
            until(lambda: actor.poll() is not None, "the actor ends", seconds=10.0)
        finally:
            end(learner, actor)
    assert (learner.returncode, actor.returncode) == (0, 0), (tmp_path / "errors").read_text()
    assert json.loads((tmp_path / "run" / "summary.json").read_bytes())["steps"] >= 6000
