"""Users' own files that are named like our folders: never run as ours, imported as theirs where they are needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import REPOSITORY, SMALL

from dppo.protocol.process.own_names import hidden_by_ours, hidden_from

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
TRAIN = ("train", "--env", "my_env:Mine-v0", *SMALL, "--run.total-steps", "512", "--run.directory", "run")
FILES = ("actor.py", "learner.py", "protocol.py", "scripts/__init__.py")


def dppo(folder: Path, *arguments: str, python_path: str | None = None) -> subprocess.CompletedProcess[str]:
    """The command as it is installed: our package is found on the path of modules, before the user's folder."""
    paths = [str(REPOSITORY / "src"), *([] if python_path is None else [python_path])]
    return subprocess.run(
        [sys.executable, "-P", "-m", "dppo", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def user_file(folder: Path, name: str) -> Path:
    """A file or package of that name, which says that it is run."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"print({IS_RUN!r})\n")
    return path


@pytest.mark.parametrize("name", FILES)
def test_the_command_itself_does_not_care_for_such_files(tmp_path: Path, name: str) -> None:
    user_file(tmp_path, name)
    done = dppo(tmp_path, "--version", python_path=".")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("dppo ")


def test_a_file_that_our_package_hides_is_found_in_the_folder_and_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hidden_by_ours("dppo") is None
    assert hidden_by_ours("my_env") is None
    mine = user_file(tmp_path, "dppo.py")
    assert hidden_by_ours("dppo.arms") == mine
    mine.unlink()
    elsewhere = user_file(tmp_path / "path", "dppo/__init__.py").parent
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    assert hidden_by_ours("dppo.tools") == elsewhere
    error = ModuleNotFoundError("No module named 'dppo.tools'", name="dppo.tools")
    assert str(elsewhere) in hidden_from(error)
    assert "my_dppo" in hidden_from(error)
    assert hidden_from(ModuleNotFoundError("No module named 'mujoco'", name="mujoco")) == ""


def test_an_environment_in_a_file_of_our_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "dppo.py").write_text(ENVIRONMENT)
    done = dppo(tmp_path, "train", "--env", "dppo:Mine-v0")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert f"your file {tmp_path / 'dppo.py'} has the name of the package 'dppo'" in line
    assert "rename it, for example to my_dppo.py" in line
    assert [path.name for path in tmp_path.iterdir()] == ["dppo.py"]


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize(("actors", "python_path"), [("0", None), ("1", ".")])
def test_a_run_does_not_care_for_such_files(tmp_path: Path, actors: str, python_path: str | None) -> None:
    (tmp_path / "my_env.py").write_text(ENVIRONMENT)
    for name in FILES:
        user_file(tmp_path, name)
    extra = ("--env.vectorization", "async") if actors == "1" else ()
    done = dppo(tmp_path, *TRAIN, "--actors", actors, *extra, python_path=python_path)
    logs = "".join(log.read_text() for log in (tmp_path / "run").glob("logs/*.log"))
    assert done.returncode == 0, done.stderr + logs
    assert IS_RUN not in done.stdout + done.stderr + logs
    assert "episodes, most likely actions" in done.stdout


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("actors", ["0", "1"])
def test_an_environment_uses_its_own_files_of_such_names(tmp_path: Path, actors: str) -> None:
    uses = ""
    for name in ("scripts/tools.py", "actor.py", "learner.py", "protocol.py", "tests/tools.py"):
        used = tmp_path / name
        used.parent.mkdir(exist_ok=True)
        if used.parent != tmp_path:
            (used.parent / "__init__.py").write_text("")
        used.write_text(f"whose = {name!r}\n")
        module = name.removesuffix(".py").replace("/", ".")
        uses += f"import {module}\nassert {module}.whose == {name!r}\n"
    (tmp_path / "my_env.py").write_text(f"{uses}{ENVIRONMENT}")
    done = dppo(tmp_path, *TRAIN, "--actors", actors)
    assert done.returncode == 0, done.stderr
