"""A command that is refused, or fails before it trains, leaves no new directory and changes no file."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from refused_commands import ADVERSE, CARTPOLE, LEARNER, NEEDS_PROCESSES, NOT_OF_ONE_PROCESS, OLD, OTHERS, TRAIN
from snapshots import snapshot

from dppo.cli import main
from dppo.learner.storage.run_directory import RunDirectory

BAD_ENV = """
import gymnasium as gym

class Bad(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, where="make"):
        self.where = where
        if where == "make":
            raise RuntimeError("no simulator here")

    def reset(self, *, seed=None, options=None):
        if self.where == "reset":
            raise RuntimeError("no simulator here")
        return self.observation_space.sample(), {}

    def step(self, action):
        raise RuntimeError("no simulator here")

class Odd(Bad):
    observation_space = gym.spaces.Text(5)

gym.register("Bad-v0", entry_point=Bad)
gym.register("Odd-v0", entry_point=Odd)
"""
PORT = 5999  # taken by the test


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, one that was interrupted, a folder of seeds, files where directories should be."""
    tree = tmp_path_factory.mktemp("tree")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tree)
        flags = ("--actors", "0", "--evaluation-episodes", "0", "--run.tensorboard", "false")
        assert run("train", *CARTPOLE, *OLD, *flags) == 0
    shutil.copytree(tree / "runs/old", tree / "runs/damaged")
    (tree / "runs/damaged/config.yaml").write_text("ppo: {gamma: ")
    shutil.copytree(tree / "runs/old", tree / "runs/torn")
    (tree / "runs/torn/checkpoints/recent").unlink(missing_ok=True)
    for state in (tree / "runs/torn/checkpoints").glob("*/state.json"):
        state.write_text("{")
    shutil.copytree(tree / "runs/old", tree / "runs/several/seed-1")
    shutil.copytree(tree / "runs/old", tree / "runs/nameless")
    (tree / "runs/nameless/run.json").write_text("{")
    shutil.copytree(tree / "runs/old", tree / "runs/linked")
    (tree / "runs/linked/ledger.json").unlink()
    (tree / "runs/linked/ledger.json").symlink_to("../../file")
    (tree / "file").write_text("a file")
    (tree / "empty").mkdir()
    (tree / "kept").mkdir()
    (tree / "kept/mine.txt").write_text("mine")
    shutil.copytree(tree / "runs/old", tree / "runs/misled")
    settings = (tree / "runs/misled/config.yaml").read_text()
    (tree / "runs/misled/config.yaml").write_text(settings.replace("CartPole-v1", "Acrobot-v1"))
    (tree / "kept/mine.onnx").write_text("no policy")
    (tree / "torn.json").write_text("{")
    for name in ("film.mp4", "film.png"):
        (tree / name).mkdir()
    (tree / "bad.yaml").write_text("ppo: {gama: 0.9}")
    (tree / "bad_env.py").write_text(BAD_ENV)
    return tree


class Copies:
    """Copies of the tree to work in, in each of which a lock is held.

    The next test gets the same one where the last one has changed nothing.
    """

    def __init__(self, tree: Path, folder: Path) -> None:
        self._tree, self._folder = tree, folder
        self._made = 0
        self._lock = ExitStack()
        self.is_unchanged = False

    def take(self) -> Path:
        """Return a whole copy; it is made anew for the next one, unless `is_unchanged` is set."""
        if not self.is_unchanged:
            self.close()
            self._made += 1
            shutil.copytree(self._tree, self._place, symlinks=True)
            shutil.copytree(self._tree / "runs/old", self._place / "runs/held")
            self._lock.enter_context(RunDirectory.open(self._place / "runs/held"))
        self.is_unchanged = False
        return self._place

    def close(self) -> None:
        """Give up the lock."""
        self._lock.close()

    @property
    def _place(self) -> Path:
        return self._folder / f"{self._made}" / "place"


@pytest.fixture(scope="module")
def copies(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copies]:
    with closing(Copies(tree, tmp_path_factory.mktemp("copies"))) as made:
        yield made


@pytest.fixture
def place(copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it to work in, beside a port that is taken."""
    place = copies.take()
    monkeypatch.chdir(place)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr("test_refusals.PORT", taken.getsockname()[1])
        yield place


def check(
    copies: Copies, place: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int
) -> None:
    arguments = tuple(argument.replace("PORT", str(PORT)) for argument in arguments)
    before = snapshot(place)
    capsys.readouterr()
    assert run(*arguments) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("dppo: error: ")
    assert "Traceback" not in error
    after = snapshot(place)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert not {name for name in changed if "__pycache__" not in name}
    copies.is_unchanged = True


@pytest.mark.fast(2)
@pytest.mark.parametrize("name", sorted(TRAIN.keys() - NEEDS_PROCESSES))
def test_train_refuses_and_changes_nothing(
    copies: Copies, place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code = TRAIN[name]
    check(copies, place, capsys, ("train", *arguments), code)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NEEDS_PROCESSES))
def test_what_only_another_process_finds_changes_nothing(
    copies: Copies, place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code = TRAIN[name]
    check(copies, place, capsys, ("train", *arguments), code)


@pytest.mark.thin(3)
@pytest.mark.slow  # the same checks, from another command
@pytest.mark.parametrize("name", sorted(TRAIN.keys() - NOT_OF_ONE_PROCESS))
def test_a_run_in_one_process_refuses_and_changes_nothing(
    copies: Copies, place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code = TRAIN[name]
    check(copies, place, capsys, ("train", *arguments, "--actors", "0"), code)


@pytest.mark.thin(3)
@pytest.mark.slow  # the same checks, from another command
@pytest.mark.parametrize("name", sorted(LEARNER))
def test_a_learner_refuses_and_changes_nothing(
    copies: Copies, place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code = LEARNER[name]
    check(copies, place, capsys, ("learner", *arguments, "--bind", f"ipc://{place.parent}/socket"), code)


@pytest.mark.fast(2)
@pytest.mark.parametrize("name", sorted(OTHERS))
def test_other_commands_refuse_and_change_nothing(
    copies: Copies, place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code = OTHERS[name]
    check(copies, place, capsys, arguments, code)


@pytest.mark.fast(2)
@pytest.mark.parametrize("name", sorted(ADVERSE))
def test_whatever_else_is_asked_for_is_refused_and_changes_nothing(
    copies: Copies, place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code = ADVERSE[name]
    check(copies, place, capsys, arguments, code)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
@pytest.mark.parametrize("actors", ["0", "1"])
def test_a_parent_that_cannot_be_written_is_one_line(
    copies: Copies, place: Path, capsys: pytest.CaptureFixture[str], actors: str
) -> None:
    (place / "empty").chmod(0o500)
    try:
        check(copies, place, capsys, ("train", *CARTPOLE, "--actors", actors, "--run.directory", "empty/run"), 2)
    finally:
        (place / "empty").chmod(0o700)


@pytest.mark.parametrize("actors", ["0", "1"])
def test_a_disk_that_is_full_at_the_start_is_one_line(
    copies: Copies, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, actors: str
) -> None:
    def full(*arguments: Any, **keywords: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    check(copies, place, capsys, ("train", *CARTPOLE, "--actors", actors, "--run.directory", "new"), 2)
