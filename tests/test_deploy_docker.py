"""`dppo up --on docker` on a real engine; skipped where there is none, or where the images are not built."""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import SETTINGS, Deployed, eventually

REPOSITORY = Path(__file__).parent.parent
IMAGES = ("dppo-learner:latest", "dppo-actor:latest")


def why_not() -> str:
    for command in (["docker", "compose", "version"], *(["docker", "image", "inspect", name] for name in IMAGES)):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"needs docker with compose v2 ({error})"
        if done.returncode:
            return f"needs docker with compose v2 and images of ours ({done.stderr.strip()})"
    return ""


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    if why := why_not():
        pytest.skip(why)
    name = f"dppo-test-{uuid.uuid4().hex[:8]}"
    compose_file = REPOSITORY / "docker-compose.yml"
    made = Deployed(tmp_path, f"{SETTINGS}deploy: {{engine: docker, name: {name}, compose_file: {compose_file}}}\n")
    yield made
    subprocess.run(["docker", "compose", "--project-name", name, "down", "--volumes"], capture_output=True, check=False)


@pytest.mark.slow
def test_a_project_trains_is_scaled_and_leaves_nothing(deployed: Deployed) -> None:
    deployed.dppo("up", "run.yaml")
    eventually("it trains", lambda: deployed.updates() > 1)
    deployed.dppo("scale", "2")
    eventually("two actors", lambda: deployed.running() == {"learner-1", "actor-1", "actor-2"})
    assert "joined the learner" in deployed.dppo("logs", "--process", "actor-1", "--lines", "100")
    deployed.dppo("down")
    assert deployed.processes() == {}
