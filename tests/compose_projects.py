"""Projects of docker compose for tests: commands, states, what the learner has logged of its actors, what is left."""

import json
import os
import re
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import pytest

from scripts.ports import free_port

REPOSITORY = Path(__file__).parent.parent


def docker(*arguments: str, timeout_seconds: float = 120, both: bool = False, **env: str) -> str:
    """Return what `docker` prints; both: also to its standard error."""
    result = subprocess.run(
        ["docker", *arguments],
        cwd=REPOSITORY,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    assert result.returncode == 0, f"docker {' '.join(arguments)}: {result.stdout[-2000:]}{result.stderr[-4000:]}"
    return (result.stdout + (result.stderr if both else "")).strip()


def why_docker_cannot_be_used() -> str:
    try:
        docker("info", timeout_seconds=30)
        docker("compose", "version", timeout_seconds=30)
    except (OSError, AssertionError, subprocess.TimeoutExpired) as error:
        return f"needs docker with compose v2 ({str(error).strip().splitlines()[-1]})"
    return ""


def eventually(what: str, condition: Callable[[], object], within_seconds: float = 60) -> None:
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_seconds} s: {what}"
        time.sleep(0.2)


@dataclass(frozen=True)
class Stack:
    """One compose project: its containers and its run directory on the host."""

    project: str
    runs: Path
    tag: str
    env_id: str = "Pendulum-v1"
    arguments: str = ""  # of the learner
    files: tuple[str, ...] = ("docker-compose.yml",)
    variables: Mapping[str, str] = field(default_factory=lambda: {"TENSORBOARD_PORT": str(free_port())})

    def compose(self, *arguments: str, timeout_seconds: float = 180) -> str:
        """Return what `docker compose` prints for this project."""
        files = [word for name in self.files for word in ("--file", name)]
        variables = {"DPPO_TAG": self.tag, "DPPO_RUNS": str(self.runs), "DPPO_ENV": self.env_id}
        return docker(
            *("compose", "--ansi=never", "--project-name", self.project, *files, *arguments),
            timeout_seconds=timeout_seconds,
            **variables | {"DPPO_ARGS": self.arguments, **self.variables},
        )

    def up(self, *arguments: str) -> None:
        self.compose("up", "--detach", "--no-build", *arguments)

    def log(self, service: str) -> str:
        """Return what its containers have printed, one after the other."""
        return "\n".join(docker("logs", name, both=True) for name in self.containers(service))

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--all", "--quiet", service).split()

    def states(self, service: str) -> list[str]:
        """`status health` of every container of a service, for example "running healthy"."""
        return inspect(self.containers(service), "{{.State.Status}} {{.State.Health.Status}}")

    def all_healthy(self, service: str, count: int) -> bool:
        return self.states(service) == ["running healthy"] * count

    def are_over(self, service: str) -> bool:
        """Whether all containers of a service have ended without an error and without having been started again."""
        found = inspect(self.containers(service), "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}")
        return bool(found) and set(found) == {"exited 0 0"}

    @property
    def run(self) -> Path:
        return self.runs / self.env_id.replace(":", "-")

    def metrics(self) -> list[dict[str, float]]:
        """One record per update so far; a line that is being written is left out."""
        file = self.run / "metrics.jsonl"
        text = file.read_text() if file.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def trained_steps(self) -> float:
        return max((record["steps"] for record in self.metrics()), default=0.0)

    def joins(self, since: datetime) -> dict[str, datetime]:
        """When each actor has first joined after that."""
        (learner,) = self.containers("learner")
        lines = docker("logs", "--timestamps", learner, both=True).splitlines()
        found = [(instant(line.split()[0]), re.search(r"(\S+) joined with", line)) for line in lines]
        later = [(match[1], at) for at, match in found if match is not None and at > since]
        return dict(reversed(later))

    def left(self) -> str:
        """Return containers, networks and volumes of this project."""
        label = f"--filter=label=com.docker.compose.project={self.project}"
        lists = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
        return " ".join(docker(*words, "--quiet", label) for words in lists).strip()

    def trains_on(self, within_seconds: float = 60) -> None:
        """Wait until there are more trained steps than ever before."""
        before = self.trained_steps()
        eventually(f"training beyond {before:.0f} steps", lambda: self.trained_steps() > before, within_seconds)


@contextmanager
def taken_down(stack: Stack) -> Iterator[Stack]:
    """Remove a project at the end, whatever has happened, and check that nothing of it is left."""
    stack.runs.mkdir(exist_ok=True)  # ours, so that the learner's files are ours to remove
    try:
        yield stack
    finally:
        print(stack.compose("ps", "--all"))  # pytest shows it when a test has failed
        print(stack.compose("logs", "--no-color", "--tail", "60"))
        # volumes of a profile are removed only where it is named
        stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")
    assert stack.left() == ""


@contextmanager
def images_or_skip(places: pytest.TempPathFactory) -> Iterator[str]:
    """Build the images, or skip where docker cannot be used; yield their tag.

    They are removed at the end, the build cache stays.
    """
    reason = why_docker_cannot_be_used()
    if reason:
        pytest.skip(reason)
    named = replace(Stack(new_project(), places.mktemp("build"), ""), tag=f"test-{uuid.uuid4().hex[:8]}")
    try:
        named.compose("build", "learner", "actor", timeout_seconds=1500)
        yield named.tag
    finally:
        docker("image", "rm", "--force", f"dppo-learner:{named.tag}", f"dppo-actor:{named.tag}")


def new_project() -> str:
    return f"dppo-test-{uuid.uuid4().hex[:8]}"


def inspect(names: list[str], template: str) -> list[str]:
    return docker("inspect", "--format", template, *names).splitlines() if names else []


def kill_main_process(container: str, helper_image: str) -> datetime:
    """SIGKILL from outside, as the kernel's memory killer would: `docker kill` counts as a wish to stop.

    Return when the container has ended, once it is started again.
    """
    (before,) = inspect([container], "{{.State.Pid}} {{.RestartCount}}")
    script = f"import os, signal; os.kill({before.split()[0]}, signal.SIGKILL)"
    docker("run", "--rm", "--pid=host", "--user=0", "--entrypoint=python", helper_image, "-c", script)
    restarts = str(int(before.split()[1]) + 1)
    eventually("the container was restarted", lambda: inspect([container], "{{.RestartCount}}") == [restarts])
    return instant(inspect([container], "{{.State.FinishedAt}}")[0])


def instant(text: str) -> datetime:
    """Moment as docker writes it, with nanoseconds."""
    return datetime.fromisoformat(text)


def answer_of(url: str) -> str:
    """Return what is served there; "" while nothing is."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.read().decode())
    except OSError:
        return ""
