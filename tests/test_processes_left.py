"""Nothing is left behind: whatever environments have started is gone when the command is, however that ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from processes import MARK_VARIABLE as STARTED_BY
from processes import SMALL, Dppo, Place

from dppo.protocol.process.descendants import (
    MARK_VARIABLE,
    children,
    descendants,
    is_over,
    kill_started,
    marked,
    new_mark,
)
from dppo.protocol.process.household import SWEEPER, leaves_nothing

HOW = ("fork", "daemon", "popen", "session", "orphan")
SLEEP = ("sleep", "4321")


def arguments(how: str, *more: str, **kwargs: object) -> tuple[str, ...]:
    env = ("--env", "starting:Starting-v0", "--env.kwargs", json.dumps({"how": how, **kwargs}))
    return (*SMALL, *env, "--collect.envs-per-actor", "2", "--run.total-steps", "1024", "--run.directory", "run", *more)


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


def simulators(place: Place) -> list[psutil.Process]:
    """Processes that environments have started."""
    found = []
    for process in place.processes():
        with contextlib.suppress(psutil.Error):  # it, or its parent, has ended meanwhile: it is no simulator that runs
            line, parent = process.cmdline(), process.parent()
            if tuple(line) == SLEEP or (parent is not None and parent.cmdline() == line):
                found.append(process)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="marks are read from /proc")
def test_what_carries_the_mark_is_found_and_ended_and_nothing_else() -> None:
    other = subprocess.Popen(["sleep", "60"])
    mark = new_mark()
    try:
        marked_one = subprocess.Popen(
            ["sleep", "60"], start_new_session=True, env={**os.environ, MARK_VARIABLE: f"{mark}.deeper"}
        )
        deadline = time.monotonic() + 5
        while marked(mark) != {marked_one.pid} and time.monotonic() < deadline:
            time.sleep(0.01)
        assert marked(mark) == {marked_one.pid}
        assert {other.pid, marked_one.pid} <= children(os.getpid())
        assert marked_one.pid not in descendants(os.getpid(), without={marked_one.pid})
        kill_started(mark, children(os.getpid()) - {marked_one.pid})
        assert is_over(marked_one.pid)
        assert marked_one.wait() == -signal.SIGKILL
        assert not is_over(other.pid)
    finally:
        other.kill()
        other.wait()
    assert is_over(other.pid)


def test_a_command_that_was_started_by_another_leaves_its_other_children_alone() -> None:
    earlier = subprocess.Popen(["sleep", "60"])
    try:
        with leaves_nothing(0.1, sweeper=False):
            later = subprocess.Popen(["sleep", "60"], start_new_session=True)
        assert later.wait(5) == -signal.SIGKILL
        assert earlier.poll() is None
        assert MARK_VARIABLE not in os.environ
    finally:
        earlier.kill()
        earlier.wait()


@pytest.mark.thin(3)
@pytest.mark.slow
@pytest.mark.parametrize(("actors", "close"), [("0", True), ("1", False)])
@pytest.mark.parametrize("how", HOW)
def test_nothing_is_left_when_a_run_is_over(place: Place, how: str, actors: str, close: bool) -> None:
    run = place.start("train", *arguments(how, "--actors", actors, "--evaluation-episodes", "2", close=close))
    place.ends(run, code=0)
    place.leaves_nothing(seconds=2)
    place.ends(place.start("evaluate", "run", "--episodes", "2"), code=0)
    place.leaves_nothing(seconds=2)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fork", "orphan"])
def test_an_actor_that_hangs_takes_its_simulators_with_it(place: Place, how: str) -> None:
    run = place.start(
        "train",
        *arguments(how, "--actors", "1", "--env.step-timeout-seconds", "2", hang_at=150, slow=0.01, close=False),
        *("--run.total-steps", "1000000", "--evaluation-episodes", "0"),
    )
    place.until(lambda: "starting it again" in run.said(), "it hung", during=run)
    place.until(lambda: run.said().count("actor-0 joined") == 2, "the next", during=run)
    assert len(simulators(place)) <= 2, simulators(place)  # not those of the first one as well
    run.signal(signal.SIGINT)
    place.until(lambda: run.process.poll() is not None, "its end")
    place.leaves_nothing(seconds=2)


def killed(place: Place, run: Dppo, actors: bool) -> None:
    """Kill it, or its actor, once that has simulators."""
    place.until(lambda: len(simulators(place)) >= 2, "the simulators", during=run)
    victim = run.actors()["actor-0"] if actors else run.pid
    time.sleep(1.0)
    os.kill(victim, signal.SIGKILL)


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_a_killed_actor_leaves_nothing(place: Place, how: str) -> None:
    run = place.start("train", *arguments(how, "--actors", "1", "--run.total-steps", "1000000", slow=0.01))
    killed(place, run, actors=True)
    place.until(lambda: "starting it again" in run.said(), "its death is seen", during=run)
    place.until(lambda: "actor-0 is back" in run.said(), "the next", during=run)
    time.sleep(3.0)
    assert len(simulators(place)) == 2
    run.signal(signal.SIGINT)
    place.ends(run, code=130)
    place.leaves_nothing(seconds=2)


@pytest.mark.thin(3)
@pytest.mark.slow
@pytest.mark.parametrize("actors", ["0", "1"])
@pytest.mark.parametrize("how", HOW)
def test_a_killed_run_leaves_nothing(place: Place, how: str, actors: str) -> None:
    run = place.start("train", *arguments(how, "--actors", actors, "--run.total-steps", "1000000", slow=0.01))
    killed(place, run, actors=False)
    place.leaves_nothing(seconds=40 if int(actors) else 10)


KILLED_AT_ONCE = """
import os, signal, subprocess
from dppo.protocol.process.household import leaves_nothing
with leaves_nothing(0.1, sweeper=True):
    print(subprocess.Popen(["sleep", "4321"], stdout=subprocess.DEVNULL).pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the sweeper reads /proc")
def test_a_command_that_is_killed_before_its_sweeper_runs_leaves_nothing() -> None:
    by_us = {STARTED_BY: new_mark()}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT_ONCE], env=os.environ | by_us, stdout=subprocess.PIPE, text=True, timeout=60
    )
    started = psutil.Process(int(killed.stdout)) if psutil.pid_exists(int(killed.stdout)) else None
    own = sweepers(by_us[STARTED_BY])
    try:
        assert killed.returncode == -signal.SIGKILL
        _, alive = psutil.wait_procs([*own, *([started] if started else [])], timeout=10)
        assert alive == []
    finally:
        for process in (*own, started):
            if process is not None and process.is_running():
                process.kill()


def sweepers(mark: str) -> list[psutil.Process]:
    """Those of a command that was started with this mark: other tests may run on this machine."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(SWEEPER) in process.cmdline() and process.environ().get(STARTED_BY) == mark:
                found.append(process)
        except (psutil.Error, OSError):  # gone, or another user's
            continue
    return found
