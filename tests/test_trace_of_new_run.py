"""A learner's trace in the logs of a run that is yet to be made, where timelines look for it."""

import socket
from pathlib import Path

import pytest

from dppo.cli import main
from dppo.local.log_files import tracing
from dppo.protocol.errors import UsageError

TRACE = "runs/new/logs/learner.trace.jsonl"


def test_the_logs_of_a_new_run_are_made_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with tracing(TRACE, "learner", tmp_path / "runs" / "new") as trace:
        assert trace is not None
    assert Path(TRACE).read_text().count("\n") == 2  # begin, end


def test_no_other_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="No such file"), tracing(TRACE, "learner", "runs/other"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_start_that_is_refused_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SystemExit) as end:
            main(["learner", "CartPole-v1", "--bind", bind, "--run.directory", "runs/new", "--trace", TRACE])
    assert end.value.code == 2
    assert "in use" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_refused_start_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(TRACE).parent.mkdir(parents=True)
    with pytest.raises(UsageError, match="refused"), tracing(TRACE, "learner", "runs/new"):
        raise UsageError("refused")
    assert Path(TRACE).is_file()
