"""A run within a run: what a run imports for its environments or hooks must not begin another one."""

import subprocess
import sys
from pathlib import Path

import pytest

import dppo
from dppo.protocol.process.descendants import MARK_VARIABLE

SCRIPT = """
import gymnasium as gym
import dppo

def make_env():
    return gym.make("CartPole-v1")

{guard}dppo.train(env="own_script:make_env", actors={actors}, verbose=False, total_steps=512, evaluation_episodes=0)
"""


def test_a_process_of_a_run_begins_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(MARK_VARIABLE, ".0123456789ab")
    with pytest.raises(dppo.UsageError, match=r"a run imports \w*test_api_nesting .* that calls dppo\.train: put"):
        dppo.train(env="CartPole-v1", actors=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("actors", [0, 1])
@pytest.mark.parametrize("guard", ["", "if __name__ == '__main__': "])
def test_a_script_that_names_itself_is_told_of_the_guard(tmp_path: Path, actors: int, guard: str) -> None:
    (tmp_path / "own_script.py").write_text(SCRIPT.format(guard=guard, actors=actors))
    done = subprocess.run(
        [sys.executable, "own_script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode == 0) == bool(guard), done.stderr
    if not guard:
        assert "put the call under `if __name__" in done.stderr.splitlines()[-1]
        assert not (tmp_path / "runs").exists()
