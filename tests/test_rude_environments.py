"""Environments that change what their process shares cost a run in that process neither its results nor its files."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CALLED = """
import dppo
result = dppo.evaluate("run", episodes=4, envs=1)
print(result.mean, "after")
open("after", "w").close()
"""
pytestmark = pytest.mark.slow


def dppo(place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return python(place, "-m", "dppo.cli", *arguments)


def python(place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize(
    "how", ["replaced", "none", "closed", "redirected", "umask", "replaced at once", "none at once"]
)
def test_results_are_printed_and_can_be_read(tmp_path: Path, how: str) -> None:
    trained = dppo(
        tmp_path,
        *("train", "--preset", "none", "--env", "rude_env:Rude-v0", "--env.kwargs", f"{{how: {how}}}", "--actors", "0"),
        *("--run.directory", "run", "--run.total-steps", "128", "--collect.batch-steps", "64"),
        *("--collect.envs-per-actor", "1", "--ppo.minibatch-steps", "64", "--evaluation-episodes", "0"),
        *("--run.tensorboard", "false"),
    )
    assert trained.returncode == 0, trained.stderr
    assert "2 updates, 128 steps" in trained.stdout
    assert stat.S_IMODE((tmp_path / "run/curve.png").stat().st_mode) & stat.S_IRUSR
    played = dppo(tmp_path, "evaluate", "run", "--episodes", "4", "--envs", "1")
    assert played.returncode == 0, played.stderr
    assert "4 episodes, most likely actions: return 5" in played.stdout
    called = python(tmp_path, "-c", CALLED)
    assert called.returncode == 0, called.stderr
    assert called.stdout.endswith("5.0 after\n")
    assert stat.S_IMODE((tmp_path / "after").stat().st_mode) & stat.S_IRUSR
