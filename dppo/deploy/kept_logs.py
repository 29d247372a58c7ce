"""Logs that an engine would remove with its containers or pods, kept in logs/ of the run. Knows files and programs."""

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dppo.deploy.engine import Deployment
from dppo.learner.regular_files import open_own
from dppo.local.log_files import made_logs

FOLDER = "logs"  # in the run directory
SECONDS = 60.0  # for one log
MOST_LINES = 100_000  # of a process, from its end


def logs_of(deployment: Deployment) -> Path:
    """Return the directory of the logs."""
    return deployment.path / FOLDER


def keep_logs(deployment: Deployment, commands: Mapping[str, Sequence[str]]) -> None:
    """Append what these commands print, by name of process, to logs/NAME.log. One that fails leaves a line on that."""
    folder = made_logs(deployment.path)
    for name, command in commands.items():
        with contextlib.suppress(OSError):  # a full disk does not keep a deployment up
            _keep(folder / f"{name}.log", command)


def _keep(path: Path, command: Sequence[str]) -> None:
    with open(open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        try:
            done = subprocess.run(
                list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=SECONDS, check=False
            )
            problem = f"ended with code {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            problem = f"took more than {SECONDS:.0f} s"
        if problem:
            log.write(f"dppo down: this log is not whole: {command[0]} {problem}\n".encode())
