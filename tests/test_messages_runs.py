"""A run that is not named, or not there: the list of those there are; and which policy of a run is meant."""

import fcntl
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.cli import main
from dppo.protocol.errors import UsageError
from dppo.watch.policy_files import locate_policy
from dppo.watch.run_list import ago, check_run, find_runs


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def make_run(path: Path, env: str, changed: float, reason: str = "") -> Path:
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(f"env:\n  id: {env}\n  kwargs: {{}}\nppo:\n  gamma: 0.9\n")
    (path / "policy.onnx").write_bytes(b"x")
    (path / "metrics.jsonl").write_text("")
    if reason:
        (path / "summary.json").write_text(json.dumps({"reason": reason, "steps": 20480}))
    for file in path.iterdir():
        os.utime(file, (changed, changed))
    return path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs/CartPole-v1"), "CartPole-v1", 1000.0, "20480 of 20480 steps are done")
    make_run(Path("runs/my_env-Reach-v0"), "my_env:Reach-v0", 3000.0)
    make_run(Path("runs/sweep/a"), "Pendulum-v1", 2000.0, "interrupted")
    (Path("runs/CartPole-v1/checkpoints/00000012")).mkdir(parents=True)
    (Path("runs/CartPole-v1/checkpoints/00000012/state.json")).write_text("{}")
    Path("runs/other").mkdir()
    return tmp_path


@pytest.mark.parametrize("command", [("evaluate",), ("plot",), ("ledger",), ("token", "list"), ("token", "add")])
def test_a_command_without_a_run_lists_those_there_are(
    runs: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert run(*command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    head, *listed, last = err.splitlines()
    assert head == "runs in runs, newest first:"
    assert [line.split()[0] for line in listed] == ["runs/my_env-Reach-v0", "runs/sweep/a", "runs/CartPole-v1"]
    assert "my_env:Reach-v0, interrupted, " in listed[0]
    assert "Pendulum-v1, interrupted after 20,480 steps, " in listed[1]
    assert "CartPole-v1, finished after 20,480 steps, " in listed[2]
    assert last.startswith("dppo: error: run")
    assert f"dppo {' '.join(command)} runs/my_env-Reach-v0" in last


def test_a_command_without_a_run_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("evaluate") == 2
    err = capsys.readouterr().err
    assert f"There are no runs in {tmp_path / 'runs'}: `dppo train` makes one" in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="Linux says which files are locked")
def test_a_run_that_is_going_on_is_said_to_and_its_lock_is_left_alone(runs: Path) -> None:
    held = os.open("runs/CartPole-v1", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    states = {str(found.path): found.state for found in find_runs()}
    os.close(held)
    assert states["runs/CartPole-v1"] == "running"
    assert "finished after 20,480 steps" in find_runs()[2].line(time.time())


def test_a_run_that_went_on_after_its_summary_is_interrupted(runs: Path) -> None:
    os.utime("runs/CartPole-v1/metrics.jsonl", (9000.0, 9000.0))
    assert find_runs()[0].state == "interrupted"


@pytest.mark.parametrize("command", [("evaluate",), ("ledger",), ("diagnose",), ("token", "list"), ("doctor",)])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CartPole-v1", ": did you mean runs/CartPole-v1?"),
        ("runs/CartPol-v1", ": did you mean runs/CartPole-v1?"),
        ("Pendulum-v1", ": did you mean runs/sweep/a?"),
        ("qqqqqqqqqqqqqqqqq", ": there are runs/my_env-Reach-v0, runs/sweep/a"),
    ],
)
def test_a_run_that_is_not_there_is_answered_with_the_nearest(
    runs: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], name: str, meant: str
) -> None:
    assert run(*command, name) == 2
    err = capsys.readouterr().err
    assert f"there is no run {name}{meant}" in err
    assert err.count("\n") == 1


def test_a_curve_of_a_run_that_is_not_there(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plot", "runs/CartPol-v1") == 2
    assert "There is no runs/CartPol-v1: did you mean runs/CartPole-v1?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "runs/CartPole-v1/checkpoints/00000012",
            "is for going on with training, and no policy to play: name the run, ",
        ),
        ("runs/CartPole-v1/checkpoints", "name the run, runs/CartPole-v1"),
        ("runs/CartPole-v1/checkpoints/00000012/state.json", "name the run, runs/CartPole-v1"),
        ("runs/CartPole-v1/summary.json", "is no policy: name the run, runs/CartPole-v1"),
        ("runs/sweep", "is no run, but has some in it: name one, for example runs/sweep/a"),
        ("runs/other", "has no policy.onnx: train first"),
    ],
)
def test_what_is_no_policy_is_answered_with_the_run_to_name(runs: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        locate_policy(name)
    assert words in str(caught.value)


def test_the_best_policy_of_a_run(runs: Path) -> None:
    directory = Path("runs/CartPole-v1")
    with pytest.raises(UsageError, match=r"has no policy-best.onnx: .* run.return_window episodes"):
        locate_policy(str(directory), "best")
    (directory / "policy-best.onnx").write_bytes(b"x")
    assert locate_policy(str(directory), "best") == (directory, directory / "policy-best.onnx")
    assert locate_policy(str(directory / "policy-best.onnx")) == (directory, directory / "policy-best.onnx")
    assert locate_policy(str(directory)) == (directory, directory / "policy.onnx")
    with pytest.raises(UsageError, match="is one policy already"):
        locate_policy(str(directory / "policy.onnx"), "best")


@given(st.text(max_size=300))
def test_any_name_of_a_run_is_answered_in_one_line(name: str) -> None:
    text = "there is no run "
    try:
        check_run(name)
    except UsageError as error:
        text = str(error)
    assert text.startswith("there is no run ")
    assert text.isprintable()


def test_ages_are_in_the_unit_that_fits() -> None:
    assert [ago(seconds) for seconds in (-1, 59, 7200, 86400 * 2)] == ["0 s ago", "59 s ago", "2 h ago", "2 d ago"]
