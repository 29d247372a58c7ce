"""docker-compose.yml on a real engine: the images, a run to its target, a finished run that stays finished, an own env.

Everything belongs to a project of its own and is removed afterwards. Needs an engine with compose v2.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from compose_projects import (
    Stack,
    answer_of,
    docker,
    eventually,
    images_or_skip,
    inspect,
    new_project,
    taken_down,
)

BASE_IMAGE = "python:3.11-slim"
ACTOR_IMAGE_LIMIT_BYTES = 250_000_000  # over its base
OWN_ENV = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

gymnasium.register("Reach-v0", CartPoleEnv, max_episode_steps=50)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def tag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with images_or_skip(tmp_path_factory) as name:
        yield name


@pytest.fixture(scope="module")
def stack(tag: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A project that is up and healthy; its run ends at CartPole's target."""
    place = tmp_path_factory.mktemp("compose")
    (place / "envs").mkdir()
    (place / "envs" / "my_env.py").write_text(OWN_ENV)
    project = Stack(new_project(), place / "runs", tag, "CartPole-v1")
    project.variables["DPPO_MODULES"] = str(place / "envs")
    with taken_down(project):
        project.up("--wait", "--wait-timeout", "120")
        yield project


def test_the_actor_image_has_no_torch_and_adds_at_most_250_megabytes(tag: str) -> None:
    actor = f"dppo-actor:{tag}"
    script = "id -un; ls /venv/lib/python3*/site-packages"
    user, *packages = docker("run", "--rm", actor, "sh", "-c", script).split()
    assert user == "dppo"
    assert "onnxruntime" in packages
    assert "torch" not in packages
    sizes = inspect([actor, BASE_IMAGE], "{{.Size}}")
    assert int(sizes[0]) - int(sizes[1]) <= ACTOR_IMAGE_LIMIT_BYTES


@pytest.mark.parametrize(
    ("owner", "expected"),
    [pytest.param(0, 1000, id="made by docker: given to dppo"), pytest.param(4321, 4321, id="somebody's: taken over")],
)
def test_the_learner_writes_as_the_owner_of_the_run_directory(
    tag: str, tmp_path: Path, owner: int, expected: int
) -> None:
    image, mount = f"dppo-learner:{tag}", f"--volume={tmp_path}:/dppo/runs"
    docker("run", "--rm", mount, "--entrypoint=chown", image, f"{owner}:{owner}", "/dppo/runs")
    script = "touch runs/curve.png; stat -c %u:%g runs/curve.png"
    owners = docker("run", "--rm", mount, image, "sh", "-c", script)
    # as it was, or the one who runs the tests could not remove it
    docker("run", "--rm", mount, "--entrypoint=chown", image, "-R", f"{os.getuid()}:{os.getgid()}", "/dppo/runs")
    assert owners == f"{expected}:{expected}"


def test_a_project_trains_to_the_target_and_shows_its_curves(stack: Stack) -> None:
    eventually("the learner has finished", lambda: stack.are_over("learner"), 180)
    eventually("its actors have left", lambda: stack.are_over("actor"))
    said = stack.log("learner")
    assert "CartPole-v1: solved: mean return of 100 episodes reached 475" in said
    assert {"actor-1", "actor-2"} == {line.split()[0] for line in said.splitlines() if " joined with " in line}
    assert said.count("in flight: closed") == 1
    assert (stack.run / "policy.onnx").stat().st_size > 0
    url = f"http://127.0.0.1:{stack.variables['TENSORBOARD_PORT']}"
    eventually("the curves are read", lambda: "CartPole-v1/tb" in answer_of(f"{url}/data/runs"))


def test_a_second_up_says_at_once_that_the_run_is_over(stack: Stack) -> None:
    eventually("the learner has finished", lambda: stack.are_over("learner"), 180)
    before, updates = inspect(stack.containers("learner"), "{{.State.StartedAt}}"), len(stack.metrics())
    assert updates >= 1
    stack.up()
    assert inspect(stack.containers("learner"), "{{.State.StartedAt}}") != before
    eventually("the learner has nothing left to do", lambda: stack.are_over("learner"))
    eventually("its actors have left again", lambda: stack.are_over("actor"))
    said = stack.log("learner")
    assert f"{stack.run} is finished; nothing was started and nothing changed" in said
    assert "go on with it (in DPPO_ARGS): --run.stop-at-target false" in said
    assert len(stack.metrics()) == updates


def test_an_environment_of_the_users_is_trained_out_of_its_folder(stack: Stack) -> None:
    own = replace(stack, env_id="my_env:Reach-v0", arguments="--steps 4096 --evaluation-episodes 0")
    own.up("--scale", "actor=1", "learner", "actor")
    eventually("the learner has finished", lambda: own.are_over("learner"), 120)
    assert own.trained_steps() >= 4096


def test_down_leaves_nothing_but_volumes_and_with_v_nothing(stack: Stack) -> None:
    assert stack.left() != ""
    stack.compose("down")
    label = f"--filter=label=com.docker.compose.project={stack.project}"
    volumes = docker("volume", "ls", "--quiet", label).split()
    assert stack.left().split() == volumes == [f"{stack.project}_join"]
    stack.compose("down", "--volumes")
    assert stack.left() == ""
    assert (stack.run / "policy.onnx").exists(), "results are the host's"
