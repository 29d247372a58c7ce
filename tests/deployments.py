"""Deployments of real processes for tests: a small endless run, the commands, and what is left of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

SETTINGS = """\
env: {id: CartPole-v1}
collect: {batch_steps: 256, envs_per_actor: 4}
ppo: {epochs: 1, minibatch_steps: 128}
network: {policy_hidden: [16], critic_hidden: [16]}
run: {directory: runs/x, total_steps: 1000000000, stop_at_target: false, tensorboard: false}
evaluation_episodes: 0
actors: 1
"""
DEADLINE_SECONDS = 50.0


class Deployed:
    """A folder with run.yaml, in which commands are given."""

    def __init__(self, folder: Path, settings: str = SETTINGS) -> None:
        self.folder = folder
        (folder / "run.yaml").write_text(settings)

    def dppo(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its end; return what it printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DPPO_")}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "dppo", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def processes(self) -> dict[str, dict[str, Any]]:
        (found,) = json.loads(self.dppo("ps", "runs/x", "--json"))
        return {process["name"]: process for process in found["processes"]}

    def running(self) -> set[str]:
        return {name for name, process in self.processes().items() if process["state"] == "running"}

    def updates(self) -> int:
        metrics = self.folder / "runs" / "x" / "metrics.jsonl"
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    def left(self) -> list[psutil.Process]:
        """All processes that name this folder, or work in it."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def shown_secrets(self) -> list[str]:
        """Places where others could read the run's join line: arguments, logs, rendered files."""
        run = self.folder / "runs" / "x"
        line = (run / "access" / "join").read_text().strip()
        files = [path for name in ("logs", "deploy") for path in (run / name).iterdir() if path.is_file()]
        found = [str(path) for path in (*files, run / "deploy.json") if line in path.read_text(errors="replace")]
        return found + [str(process.pid) for process in self.left() if line in " ".join(process.cmdline())]

    def kill_all(self) -> None:
        for process in self.left():
            process.kill()

    def _is_ours(self, process: psutil.Process) -> bool:
        if process.pid == os.getpid():
            return False
        try:
            words = " ".join(process.cmdline())
            there = str(self.folder)
            return " -m dppo" in words and (there in words or process.cwd().startswith(there))
        except psutil.Error:
            return False


def eventually(what: str, condition: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)
