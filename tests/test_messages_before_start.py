"""What could not work is said in one line before a run starts a process or writes a file."""

import os
import time
from pathlib import Path

import pytest

from dppo.local import preflight
from dppo.local.env_probe import probe
from dppo.local.known_spaces import KNOWN, needs_no_probe
from dppo.local.preflight import actors_text, check_before_start
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.process.descendants import is_over
from dppo.required_packages import need
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build

ENVIRONMENT = """
import os, signal, subprocess, sys, threading, time
import gymnasium as gym

class Trying(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, what="nothing"):
        if what == "exit":
            sys.exit("cannot open display :0")
        if what == "_exit":
            os._exit(0)
        if what == "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == "hang":
            time.sleep(1000)
        if what == "child":
            with open("pid", "w") as file:
                file.write(str(subprocess.Popen(["sleep", "300"]).pid))
        if what == "thread":
            threading.Thread(target=time.sleep, args=(300,)).start()
        if what == "text":
            self.observation_space = gym.spaces.Text(8)
        print("noise on standard output")

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def close(self):
        raise RuntimeError("cannot close")

gym.register("Trying-v0", entry_point=Trying)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "trying.py").write_text(ENVIRONMENT)
    for name in ("scripts", "actor", "learner", "protocol", "json"):  # as users name their files
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the user's own file was taken for ours')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(what: str, limit: float = 60.0) -> EnvSettings:
    return EnvSettings("trying:Trying-v0", f'{{"what": "{what}"}}', "auto", limit)


def complaint(what: str, limit: float = 60.0) -> str:
    with pytest.raises(UsageError) as caught:
        probe(settings(what, limit), pytest.fail)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_environment_that_can_be_made_is_no_news_and_leaves_nothing(folder: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    probe(settings("child"), pytest.fail)
    pid = int((folder / "pid").read_text())
    deadline = time.monotonic() + 5
    while not is_over(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert set(os.listdir("/proc/self/fd")) == before


def test_an_environment_that_ends_its_process_is_named(folder: Path) -> None:
    assert complaint("_exit") == "cannot make trying:Trying-v0 with {'what': '_exit'}: its process ended with code 0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("exit", "it called sys.exit('cannot open display :0'), which would have ended this process (trying.py:"),
        ("segv", "its process was killed by SIGSEGV: Segmentation fault in __init__ (trying.py:"),
        ("text", "the space Text is not supported"),
    ],
)
def test_the_reason_is_the_real_one(folder: Path, what: str, words: str) -> None:
    assert words in complaint(what)


@pytest.mark.slow
def test_a_making_that_hangs_ends_at_the_limit_with_its_place(folder: Path) -> None:
    notes: list[str] = []
    with pytest.raises(UsageError, match=r"it takes longer than 3 s, in __init__ \(trying.py:\d+\); to allow more"):
        probe(settings("hang", 3.0), notes.append)
    assert notes == ["making trying:Trying-v0 once, to see whether it can be made"]


@pytest.mark.slow
def test_an_environment_with_a_thread_holds_nothing_up(folder: Path) -> None:
    began = time.monotonic()
    probe(settings("thread"), pytest.fail)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("env_id", sorted(KNOWN))
def test_what_is_not_tried_needs_gymnasium_alone(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium as gym

    from dppo.actor.envs.make import registered

    spec = registered(env_id)
    gym.make(env_id).close()
    assert isinstance(spec.entry_point, str)
    assert spec.entry_point.startswith("gymnasium.envs.")


def test_only_what_is_certain_is_not_tried() -> None:
    assert needs_no_probe(EnvSettings("CartPole-v1"))
    assert not needs_no_probe(EnvSettings("CartPole-v1", '{"x": 1}'))
    assert not needs_no_probe(EnvSettings("Pendulum-v1", vectorization="native"))
    assert not needs_no_probe(EnvSettings("my_env:CartPole-v1"))


def test_a_device_that_is_not_there_is_named_with_those_that_are() -> None:
    from dppo.learner.devices import check_device, devices

    check_device("cpu")
    assert devices()[0] == "cpu"
    with pytest.raises(UsageError, match=r"run\.device=cuda:63 is not there: PyTorch .* has cpu"):
        check_device("cuda:63")
    with pytest.raises(UsageError, match=r"run\.device='gpu' is no device of PyTorch: choose for example cpu"):
        check_device("gpu")


def test_a_package_that_is_missing_is_named_by_our_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"torch is not installed, .*: pip install 'dppo\[learner\]'"):
        need(["torch"])


def test_actors_above_the_cores_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    check_before_start(build(TrainConfig, {"actors": 2}), notes.append)
    assert notes == []
    check_before_start(build(TrainConfig, {"actors": 3}), notes.append)
    assert notes == [actors_text(3, 2)]
    assert notes[0].startswith("3 actors on 2 cores: ")


def test_environment_and_device_are_tried_together(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, str, int]] = []
    monkeypatch.setattr(
        preflight, "probe", lambda env, note, *, device, nccl, **_: tried.append((env.id, device, nccl))
    )
    several = {"run.device": "cuda", "run.backend": "nccl", "learners": 2, "actors": 2}
    for values in ({}, {"run.device": "cuda"}, {"env.id": "Other-v0"}, several):
        check_before_start(build(TrainConfig, {"actors": 1, **values}), lambda note: None)
    assert tried == [("CartPole-v1", "cuda", 0), ("Other-v0", "cpu", 0), ("CartPole-v1", "cuda", 2)]
