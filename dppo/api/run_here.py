"""A run in this process, for debugging. Knows signals and streams; the training itself is `dppo.local`."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

from dppo.api.nesting import marked_as_running
from dppo.local.launch_texts import LaunchTexts
from dppo.local.train import run
from dppo.protocol.errors import UsageError
from dppo.protocol.process.interpreter import MODULE_PATH_VARIABLE, append_working_directory, module_path
from dppo.protocol.process.launch_time import LAUNCHED_VARIABLE
from dppo.settings.commands import TrainConfig


def run_here(
    config: TrainConfig, *, verbose: bool, hooks: object | None = None, texts: LaunchTexts = LaunchTexts()
) -> int:
    """Train in this process; returns the exit code of `dppo train`. Raises UsageError outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        raise UsageError(
            "actors=0 trains in this process and handles its signals, which only the main thread can: "
            "call it there, or give actors=1"
        )
    with (
        marked_as_running(),
        path_of_modules(),
        _variable(LAUNCHED_VARIABLE, str(time.monotonic())),
        _output(verbose=verbose),
    ):
        return run(config, hooks=hooks, texts=texts)


@contextlib.contextmanager
def path_of_modules() -> Iterator[None]:
    """Let this process and those that it starts find modules in the working directory and on this program's path."""
    before = set(sys.path)
    with _variable(MODULE_PATH_VARIABLE, module_path()):
        append_working_directory()
        added = set(sys.path) - before
        try:
            yield
        finally:
            sys.path[:] = [entry for entry in sys.path if entry not in added]


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _output(*, verbose: bool) -> Iterator[None]:
    """Let it through, or let it go nowhere."""
    if verbose:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield
