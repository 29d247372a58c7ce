"""Garbage collection while a process starts, and after it."""

import gc
import inspect
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from dppo.cli import COMMANDS
from dppo.protocol.process.launch_time import LAUNCHED_VARIABLE
from dppo.protocol.process.quick_imports import quick_imports, release_collector


def printed(program: str) -> list[str]:
    """Return the words that a process prints which runs this program."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_the_collector_rests_during_imports_and_runs_afterwards() -> None:
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert gc.isenabled()


def test_a_process_of_the_users_keeps_its_own_setting_of_the_collector() -> None:
    frozen = gc.get_freeze_count()
    gc.disable()
    try:
        with quick_imports():
            pass
        release_collector()
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert gc.get_freeze_count() == frozen


def test_what_a_process_of_ours_has_imported_is_not_looked_through_again() -> None:
    program = """
import gc
from dppo.protocol.process.quick_imports import hold_collector, quick_imports, release_collector
hold_collector()
print(gc.isenabled(), gc.get_freeze_count())
with quick_imports():
    import numpy
print(gc.isenabled(), gc.get_freeze_count())
release_collector()
before = gc.get_freeze_count()
print(gc.isenabled(), before > 1000)
with quick_imports():
    import gymnasium
print(gc.isenabled(), gc.get_freeze_count() > before)
"""
    assert printed(program) == ["False", "0", "False", "0", "True", "True", "True", "True"]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_collects_garbage_once_it_has_been_imported(command: str) -> None:
    """For it is `_entry` that lets the collector go on."""
    handler: Callable[..., Any] = COMMANDS[command]
    assert "_entry" in inspect.getsource(handler.func if isinstance(handler, partial) else handler)


def test_commands_run_with_the_collector_on() -> None:
    program = """
import gc, sys
from dppo import cli
from dppo.watch import runs_command
runs_command.show_runs = lambda chosen: print(gc.isenabled()) or 0
cli.process(["runs"])
"""
    assert printed(program) == ["True"]


def test_the_launch_of_a_process_is_when_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """To hundredths, also where its name, which comes before in the kernel's line, has blanks and brackets."""
    monkeypatch.delenv(LAUNCHED_VARIABLE, raising=False)
    program = """
import ctypes
from dppo.protocol.process.launch_time import launched_at
ctypes.CDLL(None).prctl(15, b"a) R (1 2", 0, 0, 0)
print(launched_at())
"""
    before = time.monotonic()
    launched = float(printed(program)[0])
    assert before - 0.02 < launched < time.monotonic()
