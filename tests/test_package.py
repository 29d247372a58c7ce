"""The one package that is installed, `dppo`, which neither hides users' files nor is hidden by them."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from processes import REPOSITORY, SMALL

ROBOT = """
import gymnasium as gym
import numpy as np
{uses}
class Reach(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {{}}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), float(action), self.t >= 20, False, {{}}

gym.register("Reach-v0", entry_point=Reach)
"""
ENDS = 'raise SystemExit("the file of the user was run")\n'
# files beside my_robot.py, and what my_robot.py imports of them; each by itself, and all that go together
ALONE: dict[str, tuple[dict[str, str], str]] = {
    "a package scripts": ({"scripts/__init__.py": ""}, ""),
    "scripts/tools.py, used": (
        {"scripts/tools.py": "NUMBER = 1\n"},
        "import scripts.tools\nassert scripts.tools.NUMBER == 1\n",
    ),
    "protocol.py": ({"protocol.py": ENDS}, ""),
    "learner.py": ({"learner.py": ENDS}, ""),
    "actor.py": ({"actor.py": ENDS}, ""),
    "actor.py, used": ({"actor.py": "NUMBER = 2\n"}, "import actor\nassert actor.NUMBER == 2\n"),
}


def together(*names: str) -> tuple[dict[str, str], str]:
    """Return all files of these, and all that is used of them."""
    files = {path: text for name in names for path, text in ALONE[name][0].items()}
    return files, "".join(ALONE[name][1] for name in names)


FOLDERS = {
    "not used": together("a package scripts", "protocol.py", "learner.py", "actor.py"),
    "used": together("scripts/tools.py, used", "actor.py, used"),
    **ALONE,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path of modules that holds the contents of the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


def python(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("DPPO_")}
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=folder,
        env=variables | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_editable_install_puts_one_name_on_the_path() -> None:
    assert [path.name for path in (REPOSITORY / "src").iterdir()] == ["dppo"]


@pytest.mark.slow
def test_one_top_level_name_is_installed(installed: Path, built: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"dppo"}
    for folder in ("learner", "actor", "protocol", "settings", "presets"):
        assert (installed / "dppo" / folder).is_dir()
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        members = source.getmembers()
    assert not [member.name for member in members if member.issym() or member.islnk()]
    assert {member.name.split("/")[1] for member in members if member.name.endswith(".py")} == {"dppo"}
    modules = {path.relative_to(installed).as_posix() for path in (installed / "dppo").rglob("*.py")}
    assert modules == {member.name.partition("/")[2] for member in members if member.name.endswith(".py")}


@pytest.mark.slow
def test_the_source_distribution_makes_the_same_wheel(installed: Path, built: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        source.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    done = subprocess.run(command, cwd=unpacked, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next((tmp_path / "dist").glob("*.whl"))) as wheel:
        contents = {name: wheel.read(name) for name in wheel.namelist()}
    assert contents == {path: (installed / path).read_bytes() for path in contents}
    assert len(contents) == sum(path.is_file() for path in installed.rglob("*") if "__pycache__" not in path.parts)


@pytest.mark.slow
def test_what_an_actor_installs_is_enough_for_its_command(installed: Path, tmp_path: Path) -> None:
    learning = ("torch", "onnx", "safetensors", "tensorboard", "matplotlib")
    program = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {learning!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import dppo.actor.service, dppo.cli
print(dppo.actor.service.__file__)
dppo.cli.main(["actor", "--help"])
"""
    done = python(installed, tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed))


@pytest.mark.slow
def test_the_python_api_is_typed_and_trains(installed: Path, tmp_path: Path) -> None:
    assert (installed / "dppo" / "py.typed").is_file()
    (tmp_path / "learner.py").write_text('raise SystemExit("the user\'s learner.py was run")')
    program = (
        "import dppo; result = dppo.train(env='CartPole-v1', actors=1, total_steps=2048, evaluation_episodes=0);"
        "print(dppo.__file__, result.load_policy().predict([0, 0, 0, 0])[0] in (0, 1))"
    )
    done = python(installed, tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{installed / 'dppo' / '__init__.py'} True"


@pytest.mark.thin(4)
@pytest.mark.slow
@pytest.mark.parametrize("files", FOLDERS)
@pytest.mark.parametrize("actors", ["1", "0"])
def test_users_train_in_folders_with_files_of_any_name(
    installed: Path, tmp_path: Path, files: str, actors: str
) -> None:
    contents, uses = FOLDERS[files]
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "my_robot.py").write_text(ROBOT.format(uses=uses))
    done = python(
        installed, tmp_path, "-m", "dppo", "train", "--env", "my_robot:Reach-v0", *SMALL, "--actors", actors,
        "--run.total-steps", "512", "--run.directory", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "episodes, most likely actions" in done.stdout
