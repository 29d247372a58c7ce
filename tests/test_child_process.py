"""One process of ours: ended within its deadline, with what it has started, and reaped with its exit code."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from dppo.local.child_process import ChildProcess, end_all, wait_all
from dppo.protocol.process.descendants import is_over
from dppo.protocol.process.lifeline import Lifeline

pytestmark = pytest.mark.slow  # starts processes

STARTS_OTHERS = """
import os, subprocess, sys, time
unmarked = {"PATH": os.environ["PATH"]}  # found by its group only
group = subprocess.Popen(["sleep", "4321"], stdout=subprocess.DEVNULL, env=unmarked)
session = subprocess.Popen(["sleep", "4321"], stdout=subprocess.DEVNULL, start_new_session=True)
print(group.pid, session.pid, flush=True)
"""
IN_ORDER = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
time.sleep(4321)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(4321)
"""

Start = Callable[..., ChildProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[ChildProcess] = []
    with Lifeline() as lifeline:

        def begin(program: str, **options: object) -> ChildProcess:
            process = ChildProcess(["-c", program], lifeline, stdout=subprocess.PIPE, **options)
            started.append(process)
            return process

        yield begin
        for process in started:
            process.kill()
            process.stdout.close()


def test_what_it_has_started_ends_with_it_in_its_group_or_in_another_session(start: Start) -> None:
    process = start(f"{STARTS_OTHERS}\ntime.sleep(4321)")
    others = [int(pid) for pid in process.stdout.readline().split()]
    assert not any(is_over(pid) for pid in others)
    assert process.end(5.0) == -signal.SIGTERM
    assert [pid for pid in others if not is_over(pid)] == []


@pytest.mark.skipif(sys.platform != "linux", reason="an end is seen before it is reaped")
def test_what_it_has_started_ends_with_it_where_it_ends_by_itself(start: Start) -> None:
    process = start(f"{STARTS_OTHERS}\nsys.exit(7)")
    others = [int(pid) for pid in process.stdout.readline().split()]
    assert process.wait() == 7
    assert [pid for pid in others if not is_over(pid)] == []


def test_a_command_ends_by_itself_what_it_has_started(start: Start) -> None:
    process = start(f"{STARTS_OTHERS}\nsys.exit(0)", is_command=True)
    others = [int(pid) for pid in process.stdout.readline().split()]
    try:
        assert process.wait() == 0
        assert not any(is_over(pid) for pid in others)
    finally:
        for pid in others:
            os.kill(pid, signal.SIGKILL)


def test_one_that_ends_in_time_keeps_its_exit_code_and_one_that_does_not_is_killed(start: Start) -> None:
    polite, stubborn = start(IN_ORDER), start(STUBBORN)
    for process in (polite, stubborn):
        process.stdout.readline()
    end_all((polite, stubborn), 1.0)
    assert (polite.exit_code, stubborn.exit_code) == (0, -signal.SIGKILL)


def test_all_have_one_grace_together(start: Start) -> None:
    processes = [start(STUBBORN) for _ in range(3)]
    for process in processes:
        process.stdout.readline()
    began = time.monotonic()
    end_all(processes, 1.0)
    assert 1.0 <= time.monotonic() - began < 3.0
    assert [process.exit_code for process in processes] == [-signal.SIGKILL] * 3


def test_a_wait_is_bounded_and_a_signal_to_what_is_over_does_not_matter(start: Start) -> None:
    quick, slow = start("raise SystemExit(3)"), start("import time; time.sleep(4321)")
    began = time.monotonic()
    wait_all((slow, quick), 1.0)
    assert time.monotonic() - began < 5.0
    assert (quick.exit_code, slow.exit_code) == (3, None)
    assert slow.wait_at_most(0.05) is None
    quick.send_signal(signal.SIGTERM)
    assert (quick.poll(), quick.kill(), quick.end(1.0)) == (3, 3, 3)


def test_input_reaches_it_whole_and_may_come_too_late(start: Start) -> None:
    reader = start("import sys; sys.exit(len(sys.stdin.read()))", stdin=subprocess.PIPE)
    reader.give_input(b"12345")
    assert reader.wait() == 5
    gone = start("raise SystemExit(0)", stdin=subprocess.PIPE)
    gone.wait()
    gone.give_input(b"12345")


def test_it_has_its_own_variables_and_those_that_it_inherits(start: Start) -> None:
    shows = "import os; print(os.environ.get('A'), os.environ.get('B'), 'PATH' in os.environ)"
    process = start(shows, variables={"A": "1"}, inherited={"B": "2"})
    assert process.stdout.read() == b"1 2 False\n"
    assert start(shows, variables={"A": "1"}).stdout.read() == b"1 None True\n"
