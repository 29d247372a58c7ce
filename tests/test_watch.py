"""The screen of a run in another terminal: what is written, what is read, and the list of runs."""

import contextlib
import json
import os
import threading
import time
from pathlib import Path

import msgspec
import pytest

from dppo.cli import main
from dppo.learner.telemetry.status import ActorStatus, Status
from dppo.local.return_curve import MOST, ReturnCurve, TimeShares, earlier_returns
from dppo.local.verdict import verdict
from dppo.protocol.errors import UsageError
from dppo.watch.runs_command import RunsArguments, show_runs
from dppo.watch.status_file import StatusFile, read_status
from dppo.watch.watch_command import WatchArguments, watch
from tests.test_progress import STATUS, Clock


def status_of(directory: Path, **fields: object) -> Status:
    return msgspec.structs.replace(STATUS, run_directory=str(directory), metrics={"kl": 0.01}, **fields)


def test_a_curve_keeps_a_whole_run_in_a_few_values() -> None:
    values = [float(number) for number in range(3 * MOST)]
    curve = ReturnCurve(values)
    condensed = curve.condensed(10)
    assert len(condensed) == 10
    assert condensed == sorted(condensed)
    assert condensed[0] < 0.1 * len(values)
    assert condensed[-1] > 0.9 * len(values)
    assert curve.best == values[-1]
    assert ReturnCurve([1.0, 3.0, 2.0]).condensed(5) == [1.0, 3.0, 2.0]
    assert ReturnCurve().condensed(5) == []


def test_a_curve_goes_on_where_a_run_goes_on(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    lines = [{"update": 1, "mean_return": None}, {"update": 2, "mean_return": -1.5}, {"update": 3, "mean_return": 2e3}]
    metrics.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert earlier_returns(metrics) == [-1.5, 2000.0]
    assert earlier_returns(tmp_path / "none") == []


def test_shares_of_time_are_of_the_newest_updates_and_do_not_jump() -> None:
    times = TimeShares()
    assert times.shares() == {}
    for _ in range(50):
        times.add({"collect_seconds": 3.0, "update_seconds": 1.0, "stop_seconds": float("nan")})
    assert times.shares() == pytest.approx({"collect": 0.75, "update": 0.25})
    times.add({"collect_seconds": 300.0, "update_seconds": 1.0})
    assert times.shares()["collect"] < 0.98
    for _ in range(50):
        times.add({"collect_seconds": 1.0, "update_seconds": 3.0})
    assert times.shares()["update"] > 0.6


def actor(env: float, policy: float, send: float, idle: float, name: str = "a") -> ActorStatus:
    return ActorStatus(name, "running", 8, 1_000, env, policy, send, idle, 0.1)


VERDICTS = {
    "learner-bound: actors idle 70%": ((actor(0.2, 0.1, 0.0, 0.7),), {"collect": 0.2, "update": 0.8}),
    "simulator-bound: actors spend 85%": ((actor(0.85, 0.1, 0.0, 0.05),), {"collect": 0.9, "update": 0.1}),
    "policy-bound: actors spend 60%": ((actor(0.3, 0.6, 0.0, 0.1),), {"collect": 0.9, "update": 0.1}),
    "wire-bound: actors spend 40%": ((actor(0.3, 0.1, 0.4, 0.2),), {"collect": 0.9, "update": 0.1}),
    "learner-bound: actors idle 60%": ((actor(0.1, 0.0, 0.3, 0.6),), {"collect": 0.3, "update": 0.7}),
    "waiting for the slowest: h3/2, 9x": (
        (actor(0.1, 0.0, 0.0, 0.9), actor(0.12, 0.0, 0.0, 0.88), actor(1.0, 0.0, 0.0, 0.0, "h3/2")),
        {"collect": 0.9, "update": 0.1},
    ),
    "balanced": ((actor(0.5, 0.3, 0.0, 0.2),), {"collect": 0.5, "update": 0.5}),
}


@pytest.mark.parametrize("beginning", VERDICTS)
def test_the_verdict_names_the_bottleneck(beginning: str) -> None:
    actors, shares = VERDICTS[beginning]
    assert verdict(status_of(Path(), updates=20, actors=actors), shares).startswith(beginning)
    assert verdict(status_of(Path(), updates=1, actors=actors), shares) == ""
    assert verdict(status_of(Path(), updates=20, actors=()), shares) == ""


def test_the_status_is_written_once_a_second_and_at_the_end(tmp_path: Path) -> None:
    clock = Clock()
    file = StatusFile(clock=clock, time_of_day=lambda: 1_000.0 + clock.now)
    for tenth in range(25):
        clock.now = tenth / 10
        file.look(status_of(tmp_path, updates=tenth))
    dated = read_status(tmp_path)
    assert dated is not None
    assert (dated.at, dated.status.updates) == (1_002.0, 20)
    file.look(status_of(tmp_path, updates=25, phase="STOPPED"))
    dated = read_status(tmp_path)
    assert dated is not None
    assert dated.status == status_of(tmp_path, updates=25, phase="STOPPED")
    file.look(status_of(tmp_path / "gone", phase="STOPPED"))  # is no error
    assert read_status(tmp_path / "gone") is None
    (tmp_path / "status.json").write_text("{", encoding="utf-8")
    assert read_status(tmp_path) is None


@pytest.mark.slow
def test_watching_ends_with_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = StatusFile()
    file.look(status_of(tmp_path, updates=4))
    end = threading.Timer(0.6, file.look, [status_of(tmp_path, updates=5, phase="STOPPED")])
    end.start()
    assert watch(WatchArguments(str(tmp_path))) == 0
    end.join()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("collecting")
    assert "update 5" in lines[1]
    assert lines[-1].startswith(f"{tmp_path}: ")


def test_a_run_that_stands_still_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    StatusFile(time_of_day=lambda: time.time() - 100).look(status_of(tmp_path, updates=4))
    assert watch(WatchArguments(str(tmp_path))) == 0
    assert "without a policy" in capsys.readouterr().out


def test_a_run_without_news_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no status\.json"):
        watch(WatchArguments(str(tmp_path), once=True))


def test_runs_are_listed_with_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "sweep" / "a"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("env:\n  id: Pendulum-v1\n", encoding="utf-8")
    rows = [{"update": 1, "steps": 10}, {"update": 2, "steps": 20_480, "mean_return": -150.25, "target_return": -200}]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"upd', encoding="utf-8")
    os.utime(run / "metrics.jsonl", (1.0, 1.0))
    assert show_runs(RunsArguments(str(tmp_path))) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{run} Pendulum-v1 without a policy 20,480 -150.2 of -200" in shown
    assert show_runs(RunsArguments(str(tmp_path), json=True)) == 0
    assert json.loads(capsys.readouterr().out)[0]["mean_return"] == -150.25
    with pytest.raises(UsageError, match="there is no folder"):
        show_runs(RunsArguments(str(tmp_path / "none")))
    (tmp_path / "empty").mkdir()
    assert show_runs(RunsArguments(str(tmp_path / "empty"))) == 0
    assert "`dppo train` makes one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("columns", "head"),
    [
        (120, ["run", "environment", "state", "steps", "return", "changed"]),
        (72, ["run", "state", "steps", "return", "changed"]),
        (50, ["run", "state", "steps", "return"]),
    ],
)
def test_the_list_of_runs_breaks_no_line_on_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int, head: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dppo.watch.runs_command.PIPE_WIDTH", columns)
    for name in ("Pendulum-v1", "CartPole-v1"):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(f"env:\n  id: {name}\n", encoding="utf-8")
        row = {"update": 2, "steps": 20_480, "mean_return": -150.25, "target_return": -200}
        (run / "metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    show_runs(RunsArguments("runs"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == head
    assert len(lines) == 3
    assert all(len(line.rstrip()) <= columns for line in lines)
    assert all("-150.2" in line for line in lines[1:])


@pytest.mark.parametrize("arguments", [["watch", "runs/none"], ["runs", "none"], ["watch"]])
def test_wrong_usage_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, contextlib.chdir("/tmp"):
        main(arguments)
    assert end.value.code == 2
    assert "dppo: error: " in capsys.readouterr().err
