"""An actor whose interpreter is held is ended from outside; one that was stopped, for however long, is not."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from processes import SMALL, Dppo, Place, RunFiles
from simulators import FAILING

from dppo.protocol.process.heartbeat_pipe import HEARTBEAT_VARIABLE, Heartbeat
from dppo.protocol.process.household import SWEEPER
from dppo.protocol.process.sweeper import LEAST_HELD_SECONDS, TOLD_SECONDS, Held

ACTOR = 7


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


def looks(held: Held, seconds: float, *, runs: bool = True, told: bool = False, start: float = 100.0) -> list[str]:
    """Reasons to end the actor in that time, looked at twice a second."""
    held.look(start, lambda _: False, lambda _: False)
    times = [start + 0.5 * look for look in range(1, int(2 * seconds) + 1)]
    return [why for now in times for why in held.look(now, lambda _: runs, lambda _: told).values()]


def heard(limit: float = 60.0, *, told: bool = False) -> Held:
    held = Held()
    held.beat(ACTOR, limit, told)
    return held


def test_silence_as_long_as_the_limit_ends_an_actor_and_less_does_not() -> None:
    assert not looks(heard(), 59.5)
    assert looks(heard(), 60.0) == ["environment hung: the interpreter was held for 60 s"]


def test_time_in_which_the_actor_was_stopped_does_not_count() -> None:
    held = heard()
    assert not looks(held, 59.0)
    assert not looks(held, 100_000.0, runs=False, told=True, start=1000.0)
    assert not looks(held, 0.5, start=200_000.0)
    assert looks(held, 1.0, start=300_000.0)  # 60.5 s in all in which it ran


def test_time_in_which_the_sweeper_was_stopped_counts_a_second_at_most() -> None:
    held = heard(limit=5.0)
    times = itertools.accumulate(itertools.repeat(3600.0, 5))
    ended = [held.look(now, lambda _: True, lambda _: False) for now in times]
    assert [bool(why) for why in ended] == [False] * 4 + [True]


def test_a_heartbeat_begins_anew() -> None:
    held = heard()
    for start in range(0, 10_000, 100):
        assert not looks(held, 50.0, start=float(start))
        held.beat(ACTOR, 60.0, told=False)


def test_a_short_limit_leaves_a_busy_machine_time() -> None:
    assert not looks(heard(limit=0.5), LEAST_HELD_SECONDS - 0.5)
    assert looks(heard(limit=0.5), LEAST_HELD_SECONDS)


def test_without_a_limit_silence_never_ends_it_and_a_forgotten_one_is_not_judged() -> None:
    assert not looks(heard(limit=0.0), 10_000.0)
    held = heard()
    held.forget(ACTOR)
    assert not looks(held, 10_000.0, told=True)


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize("limit", [0.0, 60.0])
def test_told_to_end_seconds_of_silence_are_enough(knows: bool, limit: float) -> None:
    assert not looks(heard(limit, told=knows), TOLD_SECONDS, told=True)
    (why, *_) = looks(heard(limit, told=knows), TOLD_SECONDS + 1.0, told=True)
    assert why.startswith("told to end, and did not: the interpreter was held for ")


def test_a_heartbeat_says_whether_somebody_listens() -> None:
    reading, writing = os.pipe()
    os.environ[HEARTBEAT_VARIABLE] = str(writing)
    heartbeat = Heartbeat()
    assert HEARTBEAT_VARIABLE not in os.environ
    assert heartbeat.beat(1.5, told=True, signals_fd=5)
    assert heartbeat.beat(None, told=False, signals_fd=5)
    assert os.read(reading, 4096) == b"beat %d 1.5 1 5\nbeat %d -1 0 5\n" % (os.getpid(), os.getpid())
    os.close(reading)
    assert not heartbeat.beat(1.5, told=False, signals_fd=5)
    os.close(writing)


def test_a_pipe_that_nobody_reads_never_blocks_an_actor() -> None:
    reading, writing = os.pipe()
    os.environ[HEARTBEAT_VARIABLE] = str(writing)
    heartbeat = Heartbeat()
    assert any(not heartbeat.beat(1.5, told=False, signals_fd=5) for _ in range(100_000))
    os.close(reading)
    os.close(writing)


SILENT = """
import faulthandler, os, signal, sys, time
faulthandler.register(signal.SIGUSR1)
os.write(int(sys.argv[1]), b"beat %d 3 0 99\\n" % os.getpid())
time.sleep(60)
"""


@pytest.mark.slow
def test_the_sweeper_has_the_stack_written_and_kills() -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-I", "-S", str(SWEEPER), str(reading), "x", "1", str(os.getpid())]
    sweeper = subprocess.Popen(command, pass_fds=(reading,))
    silent = subprocess.Popen(
        [sys.executable, "-c", SILENT, str(writing)], pass_fds=(writing,), stderr=subprocess.PIPE, text=True
    )
    try:
        _, log = silent.communicate(timeout=20)
        assert silent.returncode == -signal.SIGKILL
        assert "dppo: error: environment hung: the interpreter was held for 3 s; its stack is above\n" in log
        assert 'File "<string>", line 5 in <module>' in log
    finally:
        os.write(writing, b"end\n")
        for process in (silent, sweeper):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
        os.close(writing)
        os.close(reading)


def standalone(place: Place, how: str, limit: str) -> tuple[Dppo, Dppo]:
    """A learner and an actor, each a command of its own; the environment hangs after a while if it is to."""
    endpoint = f"ipc://{place.path}/socket"
    settings = json.dumps({"how": how, "step": 60 if how == "spin" else 10**9, "once": ""})
    learner = place.start(
        *("learner", *SMALL, "--bind", endpoint, "--run.directory", "run", "--run.total-steps", "100000000"),
        *("--env", FAILING, "--env.kwargs", settings, "--env.step-timeout-seconds", limit),
    )
    return learner, place.start("actor", "--learner", endpoint)


def end(place: Place, *commands: Dppo) -> None:
    for command in commands:
        command.signal(signal.SIGTERM)
        place.ends(command, code=0)
    place.leaves_nothing()


@pytest.mark.slow
def test_an_actor_that_was_stopped_for_four_times_its_limit_goes_on_and_delivers(place: Place) -> None:
    learner, actor = standalone(place, "none", "3")
    files = RunFiles(place.path / "run")
    place.until(lambda: files.updates() >= 2, "updates", during=actor)
    os.kill(actor.pid, signal.SIGSTOP)
    time.sleep(12.0)
    os.kill(actor.pid, signal.SIGCONT)
    updates = files.updates()
    place.until(lambda: files.updates() >= updates + 3, "it goes on", during=actor)
    assert "hung" not in actor.complained()
    end(place, actor, learner)


@pytest.mark.slow
def test_an_actor_alone_whose_interpreter_is_held_ends_and_says_where(place: Place) -> None:
    learner, actor = standalone(place, "spin", "4")
    place.ends(actor, code=-signal.SIGKILL)
    line = r"^dppo: error: environment hung: the interpreter was held for \d s; its stack is above$"
    place.until(lambda: re.search(line, actor.complained(), re.MULTILINE), "the reason")
    assert "in _fail" in actor.complained()
    end(place, learner)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_actor_whose_interpreter_is_held_within_five_seconds(place: Place, number: int) -> None:
    learner, actor = standalone(place, "spin", "600")
    place.until(lambda: "stepping" in actor.complained(), "it steps", during=actor)
    time.sleep(6.0)
    actor.signal(number)
    place.ends(actor, code=-signal.SIGKILL, seconds=5.0)
    place.until(lambda: "told to end, and did not: the interpreter was held" in actor.complained(), "the reason")
    assert "in _fail" in actor.complained()
    end(place, learner)
