"""`dppo.train` with real processes: from a script without a guard, a running event loop, a thread; Ctrl-C and kills."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import DEADLINE_SECONDS, POLL_SECONDS, REPOSITORY, RunFiles, assert_closes, kill

pytestmark = pytest.mark.slow

ENVIRONMENT = """
import os, time
import gymnasium as gym
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

class Crawling(CartPoleEnv):
    def step(self, action):
        if os.environ.get("TEST_CRAWLS"):
            time.sleep(0.004)
        return super().step(action)

def make_env(limit=30):
    return gym.wrappers.TimeLimit(Crawling(), limit)

def make_nothing():
    raise RuntimeError("the simulator has no licence")
"""
SETTINGS = (
    "dict(preset='none', actors=2, total_steps={steps}, directory='runs/a', collect=dict(batch_steps=256, "
    "envs_per_actor=4), ppo=dict(epochs=2, minibatch_steps=128), evaluation_episodes=2)"
)
MARK_VARIABLE = "TEST_STARTED_BY"


class Scripts:
    """A folder in which users' programs run, and what they leave."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mark = f"{path}-{time.monotonic_ns()}"

    def start(self, body: str, *, steps: int = 1024, crawls: bool = False) -> subprocess.Popen[str]:
        """Run a script that is in scripts/, beside the module of its environment, from the folder above."""
        folder = self.path / "scripts"
        folder.mkdir(exist_ok=True)
        (folder / "my_env.py").write_text(ENVIRONMENT)
        (folder / "script.py").write_text(f"import sys\nSETTINGS = {SETTINGS.format(steps=steps)}\n{body}")
        own = {name: value for name, value in os.environ.items() if not name.startswith("DPPO_")}
        return subprocess.Popen(
            [sys.executable, "scripts/script.py"],
            cwd=self.path,
            env=own | {"PYTHONPATH": str(REPOSITORY), MARK_VARIABLE: self.mark, "TEST_CRAWLS": "1" * crawls},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ends(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Exit code, standard output and error."""
        printed, complained = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, printed, complained

    def left(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK_VARIABLE) == self.mark:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def until_trained(self, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while RunFiles(self.path / "runs" / "a").updates() < 2:
            assert process.poll() is None, self.ends(process)
            assert time.monotonic() < deadline
            time.sleep(POLL_SECONDS)

    def all_gone(self) -> bool:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.left() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return not self.left()


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Scripts]:
    made = Scripts(tmp_path)
    yield made
    for process in made.left():
        kill(process.pid)


def summary(scripts: Scripts) -> dict[str, Any]:
    return dict(json.loads((scripts.path / "runs" / "a" / "summary.json").read_bytes()))


def test_a_script_needs_no_guard_and_its_folder_is_found(scripts: Scripts) -> None:
    body = """
import dppo, my_env
print("the script begins")
result = dppo.train(env=my_env.make_env, **SETTINGS)
print("RESULT", result.steps >= 1024, result.evaluation.episodes, result.directory)
print("ACTION", result.load_policy().predict([0, 0, 0, 0])[0] in (0, 1), max(dppo.evaluate(result, 3).lengths) <= 30)
print("IMPORTED", "torch" in sys.modules)
"""
    code, printed, complained = scripts.ends(scripts.start(body))
    assert code == 0, complained
    assert printed.count("the script begins") == 1
    assert f"RESULT True 2 {scripts.path / 'runs' / 'a'}" in printed
    assert "ACTION True True" in printed
    assert "IMPORTED False" in printed
    assert "actor-1 joined with 4 environments" in printed
    assert complained == ""
    assert_closes(RunFiles(scripts.path / "runs" / "a").ledger())
    assert scripts.all_gone()


def test_a_running_event_loop_and_a_redirected_output(scripts: Scripts) -> None:
    body = """
import asyncio, io, contextlib, dppo
async def cell():
    ticks = asyncio.create_task(asyncio.sleep(0))
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        result = dppo.train(env="my_env:make_env", **SETTINGS)
    await ticks
    return result, output.getvalue()
result, text = asyncio.run(cell())
assert "actor-1 joined with 4 environments" in text and "ledger: " in text and "\\x1b" not in text, text
async def in_thread():
    other = {**SETTINGS, "directory": "runs/b"}
    return await asyncio.to_thread(dppo.train, env="my_env:make_env", verbose=False, **other)
print("DONE", result.updates > 0, asyncio.run(in_thread()).updates > 0)
"""
    code, printed, complained = scripts.ends(scripts.start(body))
    assert code == 0, complained
    assert printed == "DONE True True\n"


def test_ctrl_c_reaches_the_caller_after_everything_is_saved(scripts: Scripts) -> None:
    body = """
import dppo, signal
try:
    dppo.train(env="my_env:make_env", **SETTINGS)
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print("INTERRUPTED", dppo.load_policy("runs/a").version, [run.state for run in dppo.runs()], flush=True)
"""
    process = scripts.start(body, steps=10**9, crawls=True)
    scripts.until_trained(process)
    process.send_signal(signal.SIGINT)
    code, printed, complained = scripts.ends(process)
    assert code == 0, complained
    assert "INTERRUPTED" in printed
    assert "['interrupted']" in printed
    assert summary(scripts)["reason"] == "interrupted"
    assert_closes(RunFiles(scripts.path / "runs" / "a").ledger())
    assert RunFiles(scripts.path / "runs" / "a").checkpoints()
    assert scripts.all_gone()


def test_ctrl_c_in_this_process_too(scripts: Scripts) -> None:
    body = """
import dppo
try:
    dppo.train(env="my_env:make_env", **{**SETTINGS, "actors": 0})
except KeyboardInterrupt:
    print("INTERRUPTED", flush=True)
"""
    process = scripts.start(body, steps=10**9, crawls=True)
    scripts.until_trained(process)
    process.send_signal(signal.SIGINT)
    code, printed, complained = scripts.ends(process)
    assert code == 0, complained
    assert "INTERRUPTED" in printed
    assert summary(scripts)["reason"] == "interrupted"
    assert scripts.all_gone()


def test_a_run_ends_with_its_caller_however_that_dies(scripts: Scripts) -> None:
    process = scripts.start("import dppo\ndppo.train(env='my_env:make_env', **SETTINGS)", steps=10**9, crawls=True)
    scripts.until_trained(process)
    kill(process.pid)
    scripts.ends(process)
    assert scripts.all_gone()
    assert summary(scripts)["reason"] == "interrupted"


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.8])
def test_ctrl_c_at_the_very_start(scripts: Scripts, seconds: float) -> None:
    body = """
import dppo
from dppo.api import run_process, training
print("GO", flush=True)
try:
    dppo.train(env="my_env:make_env", **SETTINGS)
except KeyboardInterrupt:
    print("INTERRUPTED")
"""
    process = scripts.start(body, steps=10**9)
    assert process.stdout is not None
    assert process.stdout.readline() == "GO\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    code, printed, complained = scripts.ends(process)
    assert code == 0, complained
    assert "INTERRUPTED" in printed
    assert scripts.all_gone()


def test_a_run_that_is_killed_is_an_error_of_one_line(scripts: Scripts) -> None:
    body = """
import dppo
try:
    dppo.train(env="my_env:make_env", **SETTINGS)
except dppo.DppoError as error:
    print("ERROR", error)
"""
    process = scripts.start(body, steps=10**9, crawls=True)
    scripts.until_trained(process)
    (run,) = [child for child in scripts.left() if "dppo.api.training_process" in child.cmdline()]
    kill(run.pid)
    code, printed, complained = scripts.ends(process)
    assert code == 0, complained
    assert printed.splitlines()[-1] == "ERROR the process of the run was killed; the same call goes on with the run"
    assert scripts.all_gone()


def test_errors_of_the_run_are_raised_in_one_line(scripts: Scripts) -> None:
    body = """
import dppo
for other in ({"env": "my_env:make_nothing"}, {"run.device": "tpu"}, {"directory": "/proc/x"}):
    settings = {"env": "my_env:make_env", **SETTINGS, **other}
    try:
        dppo.train(verbose=False, **settings)
    except dppo.DppoError as error:
        assert "\\n" not in str(error)
        print(type(error).__name__, error)
def make_in_script(): ...
try:
    dppo.train(env=make_in_script, **SETTINGS)
except dppo.UsageError as error:
    print(error)
"""
    code, printed, complained = scripts.ends(scripts.start(body))
    assert (code, complained) == (0, "")
    lines = printed.splitlines()
    assert len(lines) == 4
    assert "the simulator has no licence" in lines[0]
    assert "tpu" in lines[1]
    assert lines[2].startswith("UsageError run directory /proc/x cannot be")
    assert "make_in_script is defined in __main__, which actors cannot import: move it into a module" in lines[3]
    assert not (scripts.path / "runs").exists()


def test_two_runs_on_one_directory(scripts: Scripts) -> None:
    process = scripts.start("import dppo\ndppo.train(env='my_env:make_env', **SETTINGS)", steps=10**9, crawls=True)
    scripts.until_trained(process)
    body = """
import dppo
try:
    dppo.train(env="my_env:make_env", **SETTINGS)
except dppo.RefusedError as error:
    print("REFUSED", [run.state for run in dppo.runs()], error)
"""
    code, printed, complained = scripts.ends(scripts.start(body, steps=10**9))
    assert code == 0, complained
    assert "REFUSED ['running']" in printed
    process.send_signal(signal.SIGINT)
    code, _, complained = scripts.ends(process)
    assert complained.rstrip().endswith("KeyboardInterrupt")
    assert code in (1, 130, -signal.SIGINT)
