"""`dppo train` with environments that cannot be made, fail, or run in processes of their own."""

import json
from collections.abc import Iterator

import psutil
import pytest
from local_runs import RUN, start
from processes import SMALL, Place, RunFiles, assert_closes, drops, kill
from simulators import BLOWN_UP, BREAKING

from dppo.protocol.process.descendants import is_over

pytestmark = pytest.mark.timeout(300)  # a busy machine; no wait is longer than processes.DEADLINE_SECONDS


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


@pytest.fixture
def files(place: Place) -> RunFiles:
    return RunFiles(place.path / RUN)


def test_an_unknown_environment_is_one_line_and_the_end(place: Place) -> None:
    command = place.start("train", *SMALL, "--env", "CartPole-v9", "--run.directory", RUN)
    place.ends(command, code=2)
    place.leaves_nothing()
    (line,) = command.complained().splitlines()
    assert "CartPole-v9" in line
    assert "CartPole-v1" in line  # what could be meant


@pytest.mark.slow
def test_an_environment_that_fails_in_every_life_ends_the_run_and_says_why(place: Place) -> None:
    command = place.start(
        "train",
        *SMALL,
        *("--env", BREAKING, "--env.kwargs", json.dumps({"steps": 0}), "--run.directory", RUN),
    )
    place.ends(command, code=1)
    place.leaves_nothing()
    (line,) = command.complained().splitlines()
    assert "the simulator lost its licence" in line
    assert "actor-" in line


@pytest.mark.slow
def test_environments_in_processes_of_their_own_end_with_their_actor_however_it_ends(
    place: Place, files: RunFiles
) -> None:
    command = start(place, "--env.vectorization", "async", "--actors", "1", "--collect.envs-per-actor", "2")
    place.until(lambda: files.updates() >= 1, "the first update", during=command)
    actor = command.actors()["actor-0"]
    workers = psutil.Process(actor).children(recursive=True)
    assert len(workers) >= 2
    kill(actor)
    place.until(lambda: all(is_over(worker.pid) for worker in workers), "its environments end", during=command)
    place.until(lambda: command.actors().get("actor-0", actor) != actor, "it is started again", during=command)
    updates = files.updates()
    place.until(lambda: files.updates() > updates, "it is at work", during=command)
    kill(command.pid)
    place.leaves_nothing()
    assert_closes(files.ledger())


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("actors", [2, 0])
@pytest.mark.parametrize(
    ("env", "said"),
    [
        (BREAKING, "failed in step: RuntimeError: the simulator lost its licence (simulators.py"),
        (BLOWN_UP, "failed in step: observation is NaN or infinite"),
    ],
)
def test_an_environment_that_fails_now_and_then_is_made_again_and_counted(
    place: Place, files: RunFiles, env: str, said: str, actors: int
) -> None:
    command = place.start(
        "train",
        *(*SMALL, "--actors", str(actors), "--evaluation-episodes", "0", "--run.total-steps", "5000"),
        *("--env", env, "--env.kwargs", json.dumps({"steps": 300}), "--run.directory", RUN),
    )
    place.ends(command, code=0)
    place.leaves_nothing()
    assert command.complained() == ""
    assert said in command.said()
    assert "keeps" not in command.said()
    assert_closes(files.ledger())
    assert drops(files.ledger()) == {}
    restarts = files.summary()["env_restarts"]
    assert restarts == files.ledger()["total"]["env_restarts"]
    assert 8 <= restarts < 5000 / 300 + 20
    assert files.metrics()[-1]["env_restarts"] > 0
    if actors:
        logs = [(files.path / "logs" / f"actor-{number}.log").read_text() for number in range(actors)]
        tracebacks = sorted(log.count("Traceback") for log in logs)
        # of the first, and of the tenth if there was one; an actor that starts late may have had no time to crash
        assert tracebacks[-1] in ((1, 2) if env == BREAKING else (0,))
        assert tracebacks[0] in (0, 1, 2)


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("actors", [2, 0])
def test_a_mask_that_comes_too_late_ends_the_run_at_once(place: Place, actors: int) -> None:
    command = place.start("train", *SMALL, "--actors", str(actors), "--env", "masked_env:Late", "--run.directory", RUN)
    place.ends(command, code=1)
    place.leaves_nothing()
    (line,) = command.complained().splitlines()
    assert (
        "the environment must be changed: environment 0 failed in reset: reset() returned info['action_mask']" in line
    )
    assert "env.action_mask: none turns masks off" in line
    assert line.startswith("dppo: error: actor-" if actors else "dppo: error: the environment")
    assert "starting it again" not in command.said()


@pytest.mark.slow
def test_an_environment_that_yields_nothing_but_nan_ends_the_run_and_says_so(place: Place) -> None:
    command = place.start(
        "train",
        *SMALL,
        *("--env", BLOWN_UP, "--env.kwargs", json.dumps({"steps": 0}), "--run.directory", RUN),
    )
    place.ends(command, code=1)
    place.leaves_nothing()
    (line,) = command.complained().splitlines()
    assert "actor-" in line
    assert "observation is NaN" in line
