"""Named semaphores of multiprocessing, which processes of environments have: none is left in /dev/shm by our ends."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dppo.protocol.process.descendants import MARK_VARIABLE, kill_group, kill_started_by, new_mark
from dppo.protocol.process.household import SWEEPER

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc, /dev/shm")

ENDS_IN_ORDER = """
import multiprocessing
from dppo.protocol.process.household import leaves_nothing
kept = []
with leaves_nothing(0.1, sweeper=False):
    kept.append(multiprocessing.get_context("spawn").Lock())
    print(kept[0]._semlock.name, flush=True)
"""
HAS_A_WORKER = """
import multiprocessing, subprocess, sys, time
from multiprocessing import resource_tracker
lock = multiprocessing.get_context("spawn").Lock()
worker = subprocess.Popen(["sleep", "60"], pass_fds=[resource_tracker.getfd()])
print(lock._semlock.name, flush=True)
time.sleep(60)
"""


def semaphore(name: str) -> Path:
    return Path("/dev/shm") / f"sem.{name.strip().removeprefix('/')}"


def gone(path: Path) -> bool:
    deadline = time.monotonic() + 10.0
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not path.exists()


def test_a_semaphore_that_lives_until_the_end_is_given_back_without_a_traceback() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDS_IN_ORDER], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert gone(semaphore(ended.stdout))


def by_the_parent(pid: int, mark: str) -> None:
    kill_group(pid)
    kill_started_by(mark)


def by_the_sweeper(pid: int, mark: str) -> None:
    command = [sys.executable, "-I", "-S", str(SWEEPER), "0", mark, "0.1", str(os.getpid())]
    subprocess.run(command, input=b"end\n", timeout=60, check=True)


@pytest.mark.parametrize("end", [by_the_parent, by_the_sweeper])
def test_the_tracker_of_what_is_killed_may_tidy_up(end: Callable[[int, str], None]) -> None:
    mark = new_mark()
    process = subprocess.Popen(
        [sys.executable, "-c", HAS_A_WORKER],
        env={MARK_VARIABLE: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    try:
        assert process.stdout is not None
        path = semaphore(process.stdout.readline())
        assert path.exists()
        end(process.pid, mark)
        assert process.wait(10) < 0
        assert gone(path)
    finally:
        process.kill()
        process.communicate()
