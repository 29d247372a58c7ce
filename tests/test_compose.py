"""docker-compose.yml on a real engine: images, kills, scaling in mid-run, a finished run that stays finished.

Everything belongs to a project of its own and is removed afterwards. Needs an engine with compose v2. Processes are
killed from a container in the host's process namespace, so neither root nor a Linux host is needed.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
BASE_IMAGE = "python:3.11-slim"
ACTOR_IMAGE_LIMIT_BYTES = 250_000_000  # over its base
ENDLESS = "--run.no-stop-at-target --steps 1_000_000_000 --run.checkpoint-seconds 2"
SHORT = "--run.no-stop-at-target --steps 8192"


def docker(*arguments: str, timeout_seconds: float = 120, **env: str) -> str:
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
    return result.stdout.strip()


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
        time.sleep(0.3)


@dataclass(frozen=True)
class Stack:
    """One compose project: its containers and its run directory on the host."""

    project: str
    runs: Path
    tag: str
    arguments: str
    tensorboard_port: int

    def compose(self, *arguments: str, timeout_seconds: float = 120, **env: str) -> str:
        return docker(
            "compose",
            "--ansi=never",
            "--project-name",
            self.project,
            *arguments,
            timeout_seconds=timeout_seconds,
            **env,
            DPPO_TAG=self.tag,
            DPPO_RUNS=str(self.runs),
            DPPO_ENV="Pendulum-v1",
            DPPO_ARGS=self.arguments,
            TENSORBOARD_PORT=str(self.tensorboard_port),
        )

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--all", "--quiet", service).split()

    def states(self, service: str) -> list[str]:
        """`status health` of every container of a service, for example "running healthy"."""
        return [inspect(name, "{{.State.Status}} {{.State.Health.Status}}") for name in self.containers(service)]

    def all_healthy(self, service: str, count: int) -> bool:
        return self.states(service) == ["running healthy"] * count

    def metrics(self) -> list[dict[str, float]]:
        """One record per update so far; a line that is being written is left out."""
        file = self.runs / "Pendulum-v1" / "metrics.jsonl"
        text = file.read_text() if file.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def trained_steps(self) -> float:
        return max((record["steps"] for record in self.metrics()), default=0.0)

    def trains_on(self, within_seconds: float = 60) -> None:
        """Wait until there are more trained steps than ever before."""
        before = self.trained_steps()
        eventually(f"training beyond {before:.0f} steps", lambda: self.trained_steps() > before, within_seconds)


def inspect(name: str, template: str) -> str:
    return docker("inspect", "--format", template, name)


def kill_main_process(container: str, helper_image: str) -> None:
    """SIGKILL from outside, as the kernel's memory killer would: `docker kill` counts as a wish to stop."""
    pid = inspect(container, "{{.State.Pid}}")
    script = f"import os, signal; os.kill({pid}, signal.SIGKILL)"
    docker("run", "--rm", "--pid=host", "--user=0", "--entrypoint=python", helper_image, "-c", script)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def tag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Tag of freshly built images; they are removed at the end, the build cache stays."""
    reason = why_docker_cannot_be_used()
    if reason:
        pytest.skip(reason)
    name = f"test-{uuid.uuid4().hex[:8]}"
    builder = Stack(f"dppo-{name}", tmp_path_factory.mktemp("build"), name, "", free_port())
    try:
        builder.compose("build", "learner", "actor", timeout_seconds=1500)
        yield name
    finally:
        docker("image", "rm", "--force", f"dppo-learner:{name}", f"dppo-actor:{name}")


@pytest.fixture
def stack(request: pytest.FixtureRequest, tag: str, tmp_path: Path) -> Iterator[Stack]:
    """A project that is up; the test's parameter is the learner's arguments."""
    project = f"dppo-test-{uuid.uuid4().hex[:8]}"
    running = Stack(project, tmp_path / "runs", tag, request.param, free_port())
    running.runs.mkdir()  # ours, so that the learner's files are ours to remove
    try:
        running.compose("up", "--detach", "--no-build")
        yield running
    finally:
        print(running.compose("ps", "--all"))
        print(running.compose("logs", "--no-color", "--tail", "40"))  # pytest shows it when the test has failed
        running.compose("down", "--volumes", "--remove-orphans", "--timeout", "10")


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_actor_image_has_no_torch_and_adds_at_most_250_megabytes(tag: str) -> None:
    actor = f"dppo-actor:{tag}"
    packages = docker("run", "--rm", actor, "sh", "-c", "ls /venv/lib/python3*/site-packages").split()
    assert "onnxruntime" in packages
    assert "torch" not in packages
    script = "import importlib.util; print(importlib.util.find_spec('torch'))"
    assert docker("run", "--rm", actor, "python", "-c", script) == "None"
    added = int(inspect(actor, "{{.Size}}")) - int(inspect(BASE_IMAGE, "{{.Size}}"))
    assert added <= ACTOR_IMAGE_LIMIT_BYTES


def test_the_actor_image_runs_as_nobody_in_particular(tag: str) -> None:
    assert docker("run", "--rm", f"dppo-actor:{tag}", "id", "-un") == "dppo"


@pytest.mark.parametrize(
    ("owner", "expected"),
    [pytest.param(0, 1000, id="made by docker: given to dppo"), pytest.param(4321, 4321, id="somebody's: taken over")],
)
def test_the_learner_writes_as_the_owner_of_the_run_directory(
    tag: str, tmp_path: Path, owner: int, expected: int
) -> None:
    image, mount = f"dppo-learner:{tag}", f"--volume={tmp_path}:/dppo/runs"
    docker("run", "--rm", mount, "--entrypoint=chown", image, f"{owner}:{owner}", "/dppo/runs")
    docker("run", "--rm", mount, image, "touch", "/dppo/runs/curve.png")
    owners = docker("run", "--rm", mount, "--entrypoint=stat", image, "-c", "%u:%g", "/dppo/runs/curve.png")
    # as it was, or the one who runs the tests could not remove it
    docker("run", "--rm", mount, "--entrypoint=chown", image, "-R", f"{os.getuid()}:{os.getgid()}", "/dppo/runs")
    assert owners == f"{expected}:{expected}"


@pytest.mark.parametrize("stack", [ENDLESS], indirect=True, ids=["endless"])
def test_killed_containers_come_back_and_the_run_takes_two_more_actors(stack: Stack, tag: str) -> None:
    helper = f"dppo-actor:{tag}"
    eventually("the learner is healthy", lambda: stack.all_healthy("learner", 1))
    eventually("both actors are healthy", lambda: stack.all_healthy("actor", 2))
    stack.trains_on()
    stack.trains_on()

    victim = stack.containers("actor")[0]
    kill_main_process(victim, helper)
    eventually("the actor was restarted", lambda: inspect(victim, "{{.RestartCount}}") == "1")
    eventually("both actors are healthy again", lambda: stack.all_healthy("actor", 2))
    stack.trains_on()

    # Twice the interval of checkpoints at least lies behind us: a learner that starts from nothing would show.
    before = stack.trained_steps()
    (learner,) = stack.containers("learner")
    kill_main_process(learner, helper)
    eventually("the learner was restarted", lambda: inspect(learner, "{{.RestartCount}}") == "1")
    eventually("the learner is healthy again", lambda: stack.all_healthy("learner", 1))
    eventually("training beyond where it was killed", lambda: stack.trained_steps() > before)
    assert [record["update"] for record in stack.metrics()] == list(range(1, len(stack.metrics()) + 1))

    stack.compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "actor=4")
    eventually("four actors are healthy", lambda: stack.all_healthy("actor", 4))
    stack.trains_on()
    names = [inspect(name, "{{.Config.Hostname}}") for name in stack.containers("actor")]
    ledger = stack.runs / "Pendulum-v1" / "ledger.json"
    eventually("all four actors are in the ledger", lambda: all(name in ledger.read_text() for name in names))

    assert inspect(learner, "{{.RestartCount}}") == "1"
    url = f"http://127.0.0.1:{stack.tensorboard_port}"
    eventually("TensorBoard answers on its port", lambda: answers(url))
    with urllib.request.urlopen(f"{url}/data/runs", timeout=5) as response:
        assert "Pendulum-v1/tb" in json.load(response)


@pytest.mark.parametrize("stack", [SHORT], indirect=True, ids=["short"])
def test_a_finished_run_stays_finished(stack: Stack) -> None:
    def over(name: str) -> bool:
        return inspect(name, "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}") == "exited 0 0"

    (learner,), actors = stack.containers("learner"), stack.containers("actor")
    eventually("the learner has finished", lambda: over(learner))
    eventually("its actors have left", lambda: all(map(over, actors)))
    updates = len(stack.metrics())
    assert updates >= 1
    assert (stack.runs / "Pendulum-v1" / "policy.onnx").stat().st_size > 0
    assert stack.states("tensorboard")[0].startswith("running")

    started = inspect(learner, "{{.State.StartedAt}}")
    stack.compose("up", "--detach", "--no-build")
    assert inspect(learner, "{{.State.StartedAt}}") != started
    eventually("the learner has nothing left to do", lambda: over(learner))
    eventually("its actors have left again", lambda: all(map(over, actors)))
    assert len(stack.metrics()) == updates


def test_a_project_on_another_network_joins_by_one_token_until_that_is_revoked(tag: str, tmp_path: Path) -> None:
    project = f"dppo-test-{uuid.uuid4().hex[:8]}"
    host = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    address, line = f"{host}:{free_port()}", tmp_path / "join"
    first = Stack(project, tmp_path / "runs", tag, ENDLESS, free_port())
    first.runs.mkdir()
    own = {"DPPO_JOIN_FILE": str(line), "DPPO_UID": str(os.getuid()), "DPPO_GID": str(os.getgid()), "DPPO_COUNT": "2"}

    def learner(*arguments: str) -> str:
        files = ("--file", "docker-compose.yml", "--file", "docker-compose.hosts.yml")
        return first.compose(*files, *arguments, DPPO_PUBLISH=address)

    def token(*arguments: str) -> str:
        return learner("exec", "--no-TTY", "learner", "dppo", "token", *arguments)

    def actors(*arguments: str) -> str:
        return replace(first, project=f"{project}-b").compose("--file", "docker-compose.actors.yml", *arguments, **own)

    try:
        learner("up", "--detach", "--no-build", "learner")
        run = first.runs / "Pendulum-v1" / "access" / "join"
        eventually("the learner listens", run.exists)
        line.touch(mode=0o600)
        line.write_text(token("add", "runs/Pendulum-v1", "other", "--address", address))
        assert line.read_text().split()[-1] not in actors("config")
        actors("up", "--detach", "--no-build")
        eventually("both have joined", lambda: learner("logs", "learner").count("(token other.") == 2)
        first.trains_on()
        token("revoke", "runs/Pendulum-v1", "other")
        eventually("they end, and say why", lambda: actors("logs").count("was refused") >= 2)
    finally:
        for compose in (actors, learner):
            print(compose("logs", "--no-color", "--tail", "40"))
            compose("down", "--volumes", "--timeout", "5")
