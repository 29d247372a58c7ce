"""Users' own files that are named like our packages: never run as ours, and where they are needed, said in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import REPOSITORY, SMALL

from protocol.own_names import OWN_NAMES, hidden_by_ours, hidden_from
from scripts import run_module

DPPO = (sys.executable, str(REPOSITORY / "dppo" / "__main__.py"))  # as the installed command starts: a file elsewhere

ENVIRONMENT = """
import gymnasium as gym
import numpy as np

class Mine(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), float(action), self.t >= 20, False, {}

gym.register("Mine-v0", entry_point=Mine)
"""
IS_RUN = "THE FILE OF THE USER IS RUN"


def dppo(folder: Path, *arguments: str, python_path: str | None = None) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if python_path is not None:
        variables["PYTHONPATH"] = python_path
    return subprocess.run(
        [*DPPO, *arguments], cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False
    )


def user_file(folder: Path, name: str) -> Path:
    """A file or package of that name, which says that it is run."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"print({IS_RUN!r})\n")
    return path


TRAIN = ("train", "--env", "my_env:Mine-v0", *SMALL, "--run.total-steps", "512", "--run.directory", "run")
FILES = ("actor.py", "learner.py", "protocol.py", "scripts/__init__.py")


def test_the_names_are_said_twice_and_are_the_same() -> None:
    assert run_module.OWN_NAMES == OWN_NAMES


@pytest.mark.parametrize("name", FILES)
def test_the_command_itself_does_not_care_for_such_files(tmp_path: Path, name: str) -> None:
    user_file(tmp_path, name)
    done = dppo(tmp_path, "--version", python_path=".")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("dppo ")


def test_a_hidden_file_is_found_in_the_folder_and_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hidden_by_ours("actor") is None
    assert hidden_by_ours("my_env") is None
    mine = user_file(tmp_path, "actor.py")
    assert hidden_by_ours("actor.arms") == mine
    elsewhere = user_file(tmp_path / "path", "scripts/__init__.py").parent
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    assert hidden_by_ours("scripts.tools") == elsewhere
    error = ModuleNotFoundError("No module named 'scripts.tools'", name="scripts.tools")
    assert str(elsewhere) in hidden_from(error)
    assert "my_scripts" in hidden_from(error)
    assert hidden_from(ModuleNotFoundError("No module named 'mujoco'", name="mujoco")) == ""


def test_an_environment_in_a_file_of_such_a_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "actor.py").write_text(ENVIRONMENT)
    done = dppo(tmp_path, "train", "--env", "actor:Mine-v0")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert f"your file {tmp_path / 'actor.py'} has the name of one of dppo's own packages" in line
    assert "rename it, for example to my_actor.py" in line
    assert [path.name for path in tmp_path.iterdir()] == ["actor.py"]


@pytest.mark.slow
@pytest.mark.parametrize("python_path", [None, "."])
@pytest.mark.parametrize("actors", ["0", "1"])
@pytest.mark.parametrize("name", FILES)
def test_a_run_does_not_care_for_such_files(tmp_path: Path, name: str, actors: str, python_path: str | None) -> None:
    (tmp_path / "my_env.py").write_text(ENVIRONMENT)
    user_file(tmp_path, name)
    extra = ("--env.vectorization", "async") if actors == "1" else ()
    done = dppo(tmp_path, *TRAIN, "--actors", actors, *extra, python_path=python_path)
    logs = "".join(log.read_text() for log in (tmp_path / "run").glob("logs/*.log"))
    assert done.returncode == 0, done.stderr + logs
    assert IS_RUN not in done.stdout + done.stderr + logs
    assert "episodes, most likely actions" in done.stdout


@pytest.mark.slow
def test_an_environment_that_needs_a_hidden_package_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "my_env.py").write_text(f"from scripts.tools import anything\n{ENVIRONMENT}")
    user_file(tmp_path, "scripts/__init__.py")
    (tmp_path / "scripts" / "tools.py").write_text("anything = 1\n")
    done = dppo(tmp_path, *TRAIN, "--actors", "1")
    assert done.returncode == 2
    assert f"your folder {tmp_path / 'scripts'} has the name of one of dppo's own packages" in done.stderr
