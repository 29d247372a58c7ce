"""Paths, commands and addresses of a run in a container as people on its host know them. Pure but for the environment.

docker-compose.yml and `dppo up --on docker` set the variables. Elsewhere there are none, and nothing changes.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RUNS = "runs"  # of the containers' working directory: where the host's directory is mounted


@dataclass(frozen=True)
class HostView:
    """Differences between a container and its host; empty: none."""

    runs: str = ""  # the host's directory that is runs/ in here
    compose: str = ""  # command of compose with which the container was started: docker compose
    tensorboard: str = ""  # address

    def path(self, path: Path) -> Path:
        """Return a path as it is on the host."""
        if not self.runs or path.parts[:1] != (RUNS,):
            return path
        return Path(self.runs, *path.parts[1:])

    def places(self, run: Path) -> str:
        """Return where a run's results and curves will be found; "" where that is no other place than in here."""
        curves = f", curves on {self.tensorboard}" if self.tensorboard else ""
        return f"results in {self.path(run)}{curves}" if self.runs else ""

    @property
    def start(self) -> str:
        """Return the command that starts the run again; "" where another one than compose has started it."""
        return f"{self.compose} up" if self.compose else ""

    @property
    def dppo(self) -> str:
        """Return what is typed on the host before `dppo`: the host itself need not have it."""
        return f"{self.compose} run --rm learner " if self.compose else ""


NO_HOST = HostView()


def host_view(environ: Mapping[str, str] = os.environ) -> HostView:
    """Return what the variables of the container say."""
    found = {name: environ.get(f"DPPO_HOST_{name.upper()}", "") for name in ("runs", "compose", "tensorboard")}
    return HostView(**found)
