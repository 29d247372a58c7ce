"""A command that is refused, or fails before it trains, leaves no new directory and changes no file."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from snapshots import snapshot

from dppo.cli import main
from dppo.learner.storage.run_directory import RunDirectory

SMALL = (
    *("--preset", "none", "--collect.batch-steps", "64", "--collect.envs-per-actor", "2", "--ppo.epochs", "1"),
    *("--ppo.minibatch-steps", "64", "--network.policy-hidden", "4", "--network.critic-hidden", "4"),
)
CARTPOLE = ("CartPole-v1", *SMALL)
OLD = ("--run.directory", "runs/old", "--run.total-steps", "100")
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


@pytest.fixture
def place(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it to work in, with a lock that is held and a port that is taken."""
    place = tmp_path / "place"
    shutil.copytree(tree, place, symlinks=True)
    monkeypatch.chdir(place)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shutil.copytree(place / "runs/old", place / "runs/held")
    with socket.create_server(("127.0.0.1", 0)) as taken, RunDirectory.open(place / "runs/held"):
        monkeypatch.setattr("test_refusals.PORT", taken.getsockname()[1])
        yield place


TRAIN: dict[str, tuple[tuple[str, ...], int]] = {
    "other seed": ((*CARTPOLE, *OLD, "--seed", "2"), 2),
    "other gamma": ((*CARTPOLE, *OLD, "--ppo.gamma", "0.5"), 2),
    "other learning rate": ((*CARTPOLE, *OLD, "--ppo.learning-rate", "1e-5"), 2),
    "other network": ((*CARTPOLE, *OLD, "--network.activation", "relu"), 2),
    "other environment": (("Pendulum-v1", *SMALL, *OLD), 2),
    "other keyword arguments": ((*CARTPOLE, *OLD, "--env.kwargs", "{max_episode_steps: 9}"), 2),
    "other seed and more steps": ((*CARTPOLE, *OLD, "--seed", "2", "--steps", "1e6"), 2),
    "damaged settings": ((*CARTPOLE, "--run.directory", "runs/damaged"), 2),
    "damaged checkpoints": ((*CARTPOLE, *OLD[2:], "--run.directory", "runs/torn", "--steps", "1e6"), 1),
    "damaged identity": ((*CARTPOLE, "--run.directory", "runs/nameless", "--steps", "1e6"), 1),
    "a link in it": ((*CARTPOLE, "--run.directory", "runs/linked", "--steps", "1e6"), 2),
    "lock held": ((*CARTPOLE, *OLD[2:], "--run.directory", "runs/held", "--steps", "1e6"), 3),
    "several seeds": ((*CARTPOLE, "--run.directory", "runs/several"), 2),
    "a file there": ((*CARTPOLE, "--run.directory", "file"), 2),
    "below a file": ((*CARTPOLE, "--run.directory", "file/run"), 2),
    "a name that is too long": ((*CARTPOLE, "--run.directory", "a" * 300), 2),
    "unknown environment": (("NoSuch-v3", *SMALL), 2),
    "unknown module": (("no_such_module:X-v0", *SMALL), 2),
    "environment that cannot be made": (("bad_env:Bad-v0", *SMALL), 2),
    "new directory for it": (("bad_env:Bad-v0", *SMALL, "--run.directory", "a/b/c"), 2),
    "unsupported space": (("bad_env:Odd-v0", *SMALL), 2),
    "in an empty directory": (("bad_env:Bad-v0", *SMALL, "--run.directory", "empty"), 2),
    "beside somebody's files": (("bad_env:Bad-v0", *SMALL, "--run.directory", "kept"), 2),
    "unknown flag": ((*CARTPOLE, "--ppo.gama", "0.5"), 2),
    "bad value": ((*CARTPOLE, "--ppo.gamma", "7"), 2),
    "bad preset": (("CartPole-v1", "--preset", "nothing"), 2),
    "bad file": ((*CARTPOLE, "--config", "bad.yaml"), 2),
    "missing file": ((*CARTPOLE, "--config", "nothing.yaml"), 2),
    "missing device": ((*CARTPOLE, "--run.device", "nothing"), 2),
    "minibatch above the batch": ((*CARTPOLE, "--ppo.minibatch-steps", "65"), 2),
    "weights of nothing": ((*CARTPOLE, "--init-from", "nothing"), 2),
    "weights of a file": ((*CARTPOLE, "--init-from", "file"), 2),
    "weights of another network": (("CartPole-v1", "--preset", "none", "--init-from", "runs/old"), 2),
    "weights without a best": ((*CARTPOLE, "--init-from", "runs/old", "--run.init-checkpoint", "best"), 2),
    "weights that are torn": ((*CARTPOLE, "--init-from", "runs/torn"), 2),
    "weights of other spaces": (("Acrobot-v1", *SMALL, "--init-from", "runs/old"), 2),
    "weights for a run that has begun": ((*CARTPOLE, *OLD, "--init-from", "runs/held"), 2),
    "no seeds": ((*CARTPOLE, "--seeds", "0"), 2),
    "seeds backwards": ((*CARTPOLE, "--seeds", "5..1"), 2),
    "seeds twice": ((*CARTPOLE, "--seeds", "1,2,1"), 2),
    "seeds that are none": ((*CARTPOLE, "--seeds", "-3"), 2),
    "too many seeds": ((*CARTPOLE, "--seeds", "1e9"), 2),
    "seed and seeds": ((*CARTPOLE, "--seeds", "3", "--seed", "1"), 2),
    "seeds in a run": ((*CARTPOLE, *OLD, "--seeds", "3"), 2),
    "seeds of other settings": ((*CARTPOLE, "--run.directory", "runs/several", "--seeds", "2", "--ppo.gamma", "0"), 2),
}
NOT_OF_ONE_PROCESS = {"seeds of other settings"}
NEEDS_PROCESSES = {"weights of other spaces"}  # found by the learner
LEARNER = {
    name: case
    for name, case in TRAIN.items()
    if not ("seeds" in name or name in ("seed and seeds", "no seeds", "missing device") or "nvironment" in name)
    and name not in ("unknown module", "new directory for it", "unsupported space", "in an empty directory")
    and name not in ("beside somebody's files", "weights of other spaces", "other environment", "several seeds")
}
OTHERS: dict[str, tuple[tuple[str, ...], int]] = {
    "evaluate nothing": (("evaluate", "runs/nothing"), 2),
    "evaluate a file": (("evaluate", "file"), 2),
    "evaluate an empty directory": (("evaluate", "empty"), 2),
    "evaluate into nothing": (("evaluate", "runs/old", "--video", "missing/a.gif"), 2),
    "evaluate too few": (("evaluate", "runs/old", "--episodes", "0"), 2),
    "plot nothing": (("plot", "runs/nothing"), 2),
    "plot an empty directory": (("plot", "empty"), 2),
    "plot in no format": (("plot", "runs/old", "--output", "x.txt"), 2),
    "plot into nothing": (("plot", "runs/old", "--output", "missing/x.png"), 2),
    "plot damaged settings": (("plot", "runs/damaged"), 2),
    "token of nothing": (("token", "add", "runs/nothing", "me"), 2),
    "token list of nothing": (("token", "list", "runs/nothing"), 2),
    "token list of a run without any": (("token", "list", "runs/old"), 2),
    "token show of a run without any": (("token", "show", "runs/old"), 2),
    "token of a bad name": (("token", "add", "runs/old", "a b/c"), 2),
    "token without keys": (("token", "revoke", "runs/old", "me"), 2),
    "token of a file": (("token", "add", "file", "me"), 2),
    "ledger of nothing": (("ledger", "runs/nothing"), 2),
    "port taken": (("learner", *CARTPOLE, "--bind", "tcp://127.0.0.1:PORT"), 2),
    "port taken, in a new directory": (
        ("learner", *CARTPOLE, "--run.directory", "a/b", "--bind", "tcp://127.0.0.1:PORT"),
        2,
    ),
    "port taken, for a run that goes on": (
        ("learner", *CARTPOLE, "--run.directory", "runs/old", "--bind", "tcp://127.0.0.1:PORT"),
        2,
    ),
    "address of another host, for a run that goes on": (
        ("learner", *CARTPOLE, "--run.directory", "runs/old", "--bind", "tcp://192.0.2.1:0"),
        2,
    ),
    "join file into nothing, for a run that goes on": (
        (
            "learner",
            *CARTPOLE,
            "--run.directory",
            "runs/old",
            "--bind",
            "tcp://127.0.0.1:0",
            "--write-join-file",
            "missing/line",
        ),
        2,
    ),
    "open to all without keys": (("learner", *CARTPOLE, "--bind", "tcp://0.0.0.0:0", "--insecure"), 2),
    "join file into nothing": (
        ("learner", *CARTPOLE, "--bind", "tcp://127.0.0.1:0", "--write-join-file", "missing/line"),
        2,
    ),
}

ADVERSE: dict[str, tuple[tuple[str, ...], int]] = {
    "evaluate damaged settings": (("evaluate", "runs/damaged"), 2),
    "evaluate a policy that is none": (("evaluate", "kept/mine.onnx"), 2),
    "evaluate without a run": (("evaluate",), 2),
    "evaluate without a best": (("evaluate", "runs/nameless", "--best"), 2),
    "evaluate into no video": (("evaluate", "runs/old", "--video", "a.txt"), 2),
    "evaluate into a directory": (("evaluate", "runs/old", "--video", "empty"), 2),
    "evaluate into a directory with the name of a film": (("evaluate", "runs/old", "--video", "film.mp4"), 2),
    "evaluate in no environments": (("evaluate", "runs/old", "--envs", "0"), 2),
    "evaluate for less than no time": (("evaluate", "runs/old", "--max-seconds", "-1"), 2),
    "evaluate with the seed of nothing": (("evaluate", "runs/old", "--seed", "x"), 2),
    "evaluate two runs": (("evaluate", "runs/old", "runs/held"), 2),
    "evaluate with what training takes": (("evaluate", "runs/old", "--ppo.gamma", "1"), 2),
    "evaluate a folder of runs": (("evaluate", "runs/several"), 2),
    "evaluate another environment": (("evaluate", "runs/misled"), 1),
    "plot nothing at all": (("plot",), 2),
    "plot an empty name": (("plot", ""), 2),
    "plot a file that is no curve": (("plot", "file"), 2),
    "plot a curve that is torn": (("plot", "torn.json"), 2),
    "plot a pattern of nothing": (("plot", "runs/no*"), 2),
    "plot over a directory": (("plot", "runs/old", "--output", "film.png"), 2),
    "plot below a file": (("plot", "runs/old", "--output", "file/x.png"), 2),
    "plot over no axis": (("plot", "runs/old", "--x", "updates"), 2),
    "plot what was not recorded": (("plot", "runs/old", "--y", "success"), 2),
    "plot one that is there and one that is not": (("plot", "runs/old", "runs/nothing"), 2),
    "ledger without a run": (("ledger",), 2),
    "ledger of a file": (("ledger", "file"), 2),
    "ledger of an empty directory": (("ledger", "empty"), 2),
    "ledger of somebody's files": (("ledger", "kept"), 2),
    "ledger of torn checkpoints": (("ledger", "runs/torn"), 1),
    "ledger with a flag of another command": (("ledger", "runs/old", "--episodes", "1"), 2),
    "doctor of nothing": (("doctor", "runs/nothing"), 2),
    "doctor with a line that is none": (("doctor", "--join", "nonsense"), 2),
    "doctor with two lines": (("doctor", "--join", "a", "--join-file", "file"), 2),
    "doctor with no address": (("doctor", "--learner", "nowhere"), 2),
    "token of an unknown deed": (("token", "steal", "runs/old"), 2),
    "token without a name": (("token", "add", "runs/old"), 2),
    "token with a long name": (("token", "add", "runs/old", "a" * 300), 2),
    "token rotated without keys": (("token", "rotate", "runs/old", "me"), 2),
    "token shown without keys": (("token", "show", "runs/old", "me"), 2),
    "token that lasts for less than nothing": (("token", "add", "runs/old", "me", "--expires", "-1d"), 2),
    "token in an empty directory": (("token", "add", "empty", "me"), 2),
    "bench of an unknown thing": (("bench", "everything"), 2),
    "bench solve of nothing": (("bench", "solve"), 2),
    "bench solve of no environment": (("bench", "solve", "NoSuch-v3", "--seeds", "1"), 2),
    "bench solve with no seeds": (("bench", "solve", "CartPole-v1", "--seeds", "0"), 2),
    "bench solve below a file": (("bench", "solve", "CartPole-v1", "--output", "file/x.json"), 2),
    "bench solve into a directory": (("bench", "solve", "CartPole-v1", "--output", "empty"), 2),
    "bench solve with a wrong override": (("bench", "solve", "CartPole-v1", "--", "--ppo.gama", "1"), 2),
    "bench solve with a setting before --": (("bench", "solve", "CartPole-v1", "--ppo.gamma", "1"), 2),
    "bench preset of no preset": (("bench", "preset", "nothing"), 2),
    "bench preset below a file": (("bench", "preset", "tutorial/dppo", "--output", "file/x.json"), 2),
    "bench throughput in no time": (("bench", "throughput", "CartPole-v1", "--seconds", "0"), 2),
    "bench throughput of no environment": (("bench", "throughput", "NoSuch-v3", "--seconds", "1"), 2),
    "bench throughput with less than no actors": (("bench", "throughput", "CartPole-v1", "--actors", "-1"), 2),
    "bench throughput below a file": (("bench", "throughput", "CartPole-v1", "--output", "file/x.json"), 2),
    "bench chaos of an unknown fault": (("bench", "chaos", "--only", "meteor"), 2),
    "bench chaos below a file": (("bench", "chaos", "--only", "glitches", "--output", "file/x.json"), 2),
    "bench chaos short and full": (("bench", "chaos", "--short", "--full"), 2),
    "actor without a learner": (("actor",), 2),
    "actor with a line that is none": (("actor", "--join", "nonsense"), 2),
    "actor with no address": (("actor", "--learner", "nowhere"), 2),
    "actor with less than no environments": (("actor", "--learner", "ipc://x", "--envs", "-1"), 2),
    "actor over plain tcp": (("actor", "--learner", "tcp://192.0.2.1:1", "--insecure"), 2),
    "no command": (("paint",), 2),
    "help of an unknown command": (("paint", "--help"), 2),
    "a learner at a wrong address": (("learner", *CARTPOLE, "--bind", "nowhere"), 2),
}


def check(place: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int) -> None:
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


@pytest.mark.parametrize("name", sorted(TRAIN.keys() - NEEDS_PROCESSES))
def test_train_refuses_and_changes_nothing(place: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    arguments, code = TRAIN[name]
    check(place, capsys, ("train", *arguments), code)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NEEDS_PROCESSES))
def test_what_only_the_learner_finds_changes_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code = TRAIN[name]
    check(place, capsys, ("train", *arguments), code)


@pytest.mark.slow  # the same checks, from another command
@pytest.mark.parametrize("name", sorted(TRAIN.keys() - NOT_OF_ONE_PROCESS))
def test_a_run_in_one_process_refuses_and_changes_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code = TRAIN[name]
    check(place, capsys, ("train", *arguments, "--actors", "0"), code)


@pytest.mark.slow  # the same checks, from another command
@pytest.mark.parametrize("name", sorted(LEARNER))
def test_a_learner_refuses_and_changes_nothing(place: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    arguments, code = LEARNER[name]
    check(place, capsys, ("learner", *arguments, "--bind", f"ipc://{place.parent}/socket"), code)


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_other_commands_refuse_and_change_nothing(place: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    arguments, code = OTHERS[name]
    check(place, capsys, arguments, code)


@pytest.mark.parametrize("name", sorted(ADVERSE))
def test_whatever_else_is_asked_for_is_refused_and_changes_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code = ADVERSE[name]
    check(place, capsys, arguments, code)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
@pytest.mark.parametrize("actors", ["0", "1"])
def test_a_parent_that_cannot_be_written_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], actors: str
) -> None:
    (place / "empty").chmod(0o500)
    try:
        check(place, capsys, ("train", *CARTPOLE, "--actors", actors, "--run.directory", "empty/run"), 2)
    finally:
        (place / "empty").chmod(0o700)


@pytest.mark.parametrize("actors", ["0", "1"])
def test_a_disk_that_is_full_at_the_start_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, actors: str
) -> None:
    def full(*arguments: Any, **keywords: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    check(place, capsys, ("train", *CARTPOLE, "--actors", actors, "--run.directory", "new"), 2)
