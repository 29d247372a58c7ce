"""Environments that hang, hold the interpreter, crash it or leave it, in real processes: named, replaced, survived."""

import json
import re
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from processes import SMALL, Dppo, Place, RunFiles, assert_closes
from simulators import FAILING

from dppo.protocol.process.descendants import is_over

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RUN = "run"
TOTAL_STEPS = 6000
LIMIT_SECONDS = 4  # above the 3 s after which a stuck actor is told of
HERE = r"\(simulators\.py:\d+ in _fail\)"

BY_ENVIRONMENT = "its environment ended the process in step or reset"


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as made:
        yield made


@pytest.fixture
def files(place: Place) -> RunFiles:
    return RunFiles(place.path / RUN)


def start(place: Place, how: str, *arguments: str, **kwargs: Any) -> Dppo:
    settings = {"how": how, "step": 60, "once": str(place.path / "once"), **kwargs}
    return place.start(
        "train",
        *(*SMALL, "--run.directory", RUN, "--run.total-steps", str(TOTAL_STEPS), "--evaluation-episodes", "0"),
        *("--env", FAILING, "--env.kwargs", json.dumps(settings)),
        *("--env.step-timeout-seconds", str(LIMIT_SECONDS), *arguments),
    )


def the_actor_in(said: str, pattern: str) -> str:
    """Which actor the one line that matches is about."""
    found = re.findall(rf"^(actor-\d):? {pattern}$", said, re.MULTILINE)
    assert len(found) == 1, f"{pattern} is not in one line of\n{said}"
    return str(found[0])


def names_in(command: Dppo, pattern: str) -> set[str]:
    """The actors about which a line that begins so was written so far."""
    return set(re.findall(rf"^(actor-\d):? {pattern}", command.said(), re.MULTILINE))


def ends_well(place: Place, command: Dppo, files: RunFiles) -> str:
    """The run comes to its end, its books close, nothing is left; what it said."""
    place.ends(command, code=0)
    place.leaves_nothing()
    assert command.complained() == ""
    assert_closes(files.ledger())
    assert files.summary()["steps"] >= TOTAL_STEPS
    return command.said()


@pytest.mark.parametrize("at", ["step", "reset", "making"])
def test_an_environment_that_sleeps_for_ever_is_named_and_its_actor_replaced(
    place: Place, files: RunFiles, at: str
) -> None:
    said = ends_well(place, start(place, "sleep", at=at), files)
    what = {"step": "env.step", "reset": "env.step", "making": f"making {FAILING}"}[at]
    hung = the_actor_in(
        said, rf"ended with code 1 \(environment hung for \d s in {what}.* {HERE}; .*\); starting it again"
    )
    if at != "making":  # the learner knows it by then
        assert the_actor_in(said, rf"stuck for 3 s in env\.step of environment \d {HERE}") == hung
    assert f"{hung} is back" in said
    log = (files.path / "logs" / f"{hung}.log").read_text()
    assert re.search(r'simulators\.py", line \d+ in _fail', log)
    assert "actor/envs/sync_loop.py" in log or at == "making"


def test_an_environment_that_holds_the_interpreter_is_named_and_its_actor_replaced(
    place: Place, files: RunFiles
) -> None:
    said = ends_well(place, start(place, "hold"), files)
    what = r"environment hung: the interpreter was held for \d s in _fail \(simulators\.py:\d+\)"
    hung = the_actor_in(said, rf"was ended \({what}\); starting it again")
    assert f"{hung} is back" in said


def test_the_others_go_on_while_one_hangs(place: Place, files: RunFiles) -> None:
    command = start(place, "sleep", "--env.step-timeout-seconds", "60", "--collect.stop-grace-seconds", "1")
    place.until(lambda: "stuck for 3 s" in command.said(), "one is stuck", during=command)
    updates = files.updates()
    place.until(lambda: files.updates() >= updates + 5, "five updates without it", during=command)
    assert "going on without it" in command.said()
    assert ends_well(place, command, files)


def test_an_environment_with_a_segmentation_fault_is_named_and_its_actor_replaced(
    place: Place, files: RunFiles
) -> None:
    said = ends_well(place, start(place, "crash"), files)
    what = r"was killed by SIGSEGV \(Segmentation fault in _fail \(simulators\.py:\d+\)\)"
    assert f"{the_actor_in(said, rf'{what}; starting it again')} is back" in said


@pytest.mark.thin(2)
@pytest.mark.parametrize("code", [0, 3])
def test_an_environment_that_ends_the_process_does_not_end_the_run(place: Place, files: RunFiles, code: int) -> None:
    """Whatever the code says: 2 is an actor's own for wrong usage, 3 for being refused, 0 for a clean end."""
    said = ends_well(place, start(place, str(code)), files)
    assert f"{the_actor_in(said, rf'ended with code {code}: {BY_ENVIRONMENT}; starting it again')} is back" in said


@pytest.mark.parametrize("how", ["crash", "0"])
def test_a_run_whose_actors_die_again_and_again_ends_and_says_why(place: Place, how: str) -> None:
    command = start(place, how, once="", step=0)
    place.ends(command, code=1)
    place.leaves_nothing()
    (line,) = command.complained().splitlines()
    assert re.search(rf"actor-\d keeps dying: it (was killed by SIGSEGV|ended with code \d: {BY_ENVIRONMENT})", line)


def test_a_run_whose_environments_all_hang_at_their_first_step_ends_and_says_why(place: Place) -> None:
    command = start(place, "sleep", "--env.step-timeout-seconds", "1", once="", step=0)
    place.ends(command, code=1)
    place.leaves_nothing()
    (line,) = command.complained().splitlines()
    assert re.search(r"actor-\d keeps dying: it ended with code 1 \(environment hung for 1 s in env\.step", line)


@pytest.mark.thin(2)
@pytest.mark.parametrize("how", ["sleep", "hold"])
def test_a_hung_process_of_a_vector_is_named_and_none_is_left(place: Place, files: RunFiles, how: str) -> None:
    command = start(place, how, "--env.vectorization", "async", "--collect.envs-per-actor", "2")
    said = ends_well(place, command, files)
    where = r"in env\.step, waiting for the process of environment [01]"
    hung = the_actor_in(said, rf"stuck for 3 s {where}")
    assert re.search(rf"^{hung} ended with code 1 \(environment hung for \d s {where};", said, re.MULTILINE)
    log = (files.path / "logs" / f"{hung}.log").read_text()
    assert re.search(r'simulators\.py", line \d+ in _fail', log)


@pytest.mark.parametrize(
    ("how", "what"), [("crash", "its process was killed by SIGSEGV"), ("raise", "the simulator lost its licence")]
)
def test_a_vector_is_made_again_when_one_of_its_processes_dies(
    place: Place, files: RunFiles, how: str, what: str
) -> None:
    command = start(place, how, "--env.vectorization", "async", "--collect.envs-per-actor", "2")
    said = ends_well(place, command, files)
    the_actor_in(said, rf"environment [01] failed in step: \w+: {what}.*")
    assert files.summary()["env_restarts"] == 1
    assert "starting it again" not in said


@pytest.mark.thin(2)
@pytest.mark.parametrize("how", ["sleep", "hold"])
def test_the_processes_of_a_vector_end_with_an_actor_that_is_killed(place: Place, files: RunFiles, how: str) -> None:
    arguments = ("--env.vectorization", "async", "--env.step-timeout-seconds", "100")
    command = start(place, how, *arguments, "--collect.envs-per-actor", "2")
    place.until(lambda: (place.path / "once").exists(), "one is stuck", during=command)
    workers = [process for actor in command.actors().values() for process in psutil.Process(actor).children()]
    assert len(workers) >= 4
    for actor in command.actors().values():
        psutil.Process(actor).kill()
    place.until(lambda: all(is_over(worker.pid) for worker in workers), "they are gone")
    command.signal(signal.SIGINT)
    place.until(lambda: command.process.poll() is not None, "the run ends")
    place.leaves_nothing()


def test_a_stuck_environment_in_a_run_without_actors_is_named_and_the_second_ctrl_c_ends_it(
    place: Place, files: RunFiles
) -> None:
    command = start(place, "sleep", "--actors", "0")
    place.until(lambda: "stuck for 3 s in env.step" in command.said(), "it is named", during=command)
    command.signal(signal.SIGINT)
    place.until(lambda: "again to end at once" in command.said(), "it was heard", during=command)
    command.signal(signal.SIGINT)
    place.ends(command, code=130)
    place.leaves_nothing()


def test_a_hung_actor_that_is_told_to_end_does_so(place: Place, files: RunFiles) -> None:
    command = start(place, "sleep", "--env.step-timeout-seconds", "100", once="")
    place.until(lambda: names_in(command, "stuck for 3 s") == {"actor-0", "actor-1"}, "both are stuck", during=command)
    for actor in command.actors().values():
        psutil.Process(actor).terminate()
    ended = r"ended with code 1 \(told to end while stuck"
    place.until(lambda: names_in(command, ended) == {"actor-0", "actor-1"}, "both have ended", during=command)
    command.signal(signal.SIGINT)
    place.until(lambda: command.process.poll() is not None, "the run ends")
    place.leaves_nothing()


def test_an_actor_of_its_own_says_why_it_ends_and_its_learner_notes_it(place: Place) -> None:
    settings = {"how": "sleep", "step": 60, "once": ""}
    endpoint = f"ipc://{place.path}/socket/learner"
    learner = place.start(
        "learner",
        *(*SMALL, "--bind", endpoint, "--run.directory", RUN, "--env", FAILING),
        *("--env.kwargs", json.dumps(settings), "--env.step-timeout-seconds", str(LIMIT_SECONDS)),
    )
    actor = place.start("actor", "--learner", endpoint, "--name", "mine")
    place.ends(actor, code=1)
    last = actor.complained().splitlines()[-1]
    assert re.match(rf"dppo: error: environment hung for \d s in env\.step of environment 0 {HERE}; ", last)
    place.until(lambda: "mine: stuck for 3 s" in learner.said(), "the learner says it", during=learner)
    learner.signal(signal.SIGTERM)
    place.until(lambda: learner.process.poll() is not None, "the learner ends")
    place.leaves_nothing()


def test_an_environment_that_ends_a_run_without_actors_is_named(place: Place) -> None:
    command = start(place, "7", "--actors", "0", once="")
    place.ends(command, code=7)
    place.until(lambda: "in the middle of the run, by its environment" in command.complained(), "it is said")
    place.leaves_nothing()


def test_an_environment_that_ends_an_actor_of_its_own_is_named(place: Place) -> None:
    settings = {"how": "7", "step": 60, "once": ""}
    endpoint = f"ipc://{place.path}/socket/learner"
    learner = place.start(
        "learner",
        *(*SMALL, "--bind", endpoint, "--run.directory", RUN, "--env", FAILING),
        *("--env.kwargs", json.dumps(settings)),
    )
    actor = place.start("actor", "--learner", endpoint, "--name", "mine")
    place.ends(actor, code=7)
    place.until(lambda: "in the middle of its work, by its environment" in actor.complained(), "it is said")
    learner.signal(signal.SIGTERM)
    place.until(lambda: learner.process.poll() is not None, "the learner ends")
    place.leaves_nothing()
