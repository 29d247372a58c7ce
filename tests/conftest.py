"""What holds for all tests."""

import functools
import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers
from shards import SHARDS, brief, shard_of, slow_cases, try_few_examples
from simulation import Simulation

from dppo.learner.storage import run_directory

# where the shell forbids bytecode, every process that a test starts would compile all of our modules again
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
sys.dont_write_bytecode = False
# a shell starts what it puts into the background with Ctrl-C ignored, and so would every command that a test interrupts
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
SLOW_SECONDS = 600.0  # of a slow test at least: others run beside it
# the same examples every time, and no deadline: a busy machine is no bug
settings.register_profile("dppo", derandomize=True, deadline=None)
settings.load_profile("dppo")
# Hypothesis also tries constants of our modules, of those that happen to be loaded: the examples would depend on which
# other tests run. There is no setting for it.
assert callable(providers.is_local_module_file)
providers.is_local_module_file = lambda path: False


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--shard` and `--brief`."""
    parser.addoption("--shard", choices=SHARDS, help="only the files of this shard of the slow tests")
    parser.addoption("--brief", action="store_true", help="fewer examples and cases of slow tests: shards.py")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the modules of tests whether they are to be brief."""
    try_few_examples(config.getoption("brief"))


@pytest.hookimpl(tryfirst=True)  # before -m looks at what is slow
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give slow tests time. Leave out cases of large families where `--brief` says so: always the same ones."""
    for item in slow_cases(items):
        item.add_marker(pytest.mark.slow)
    for item in items:
        own = item.get_closest_marker("timeout")
        if item.get_closest_marker("slow") and (own is None or own.args[0] < SLOW_SECONDS):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS), append=False)  # the first one counts
    if not config.getoption("brief"):
        return
    items[:], left_out = brief(items)
    config.hook.pytest_deselected(items=left_out)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files of other shards: not imported, they cost nothing."""
    shard = config.getoption("shard")
    is_of_another = shard is not None and collection_path.suffix == ".py" and shard_of(collection_path) != shard
    return True if is_of_another else None


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives until the end: all tests, torch, onnx. It was 13 of 185 s of CPU."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_provenance() -> Iterator[None]:
    """Look at git and at what is installed at the first start of a run only: 20 ms, and hundreds of tests start one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_directory, "provenance", functools.cache(run_directory.provenance))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_trace() -> Iterator[None]:
    """Trace policies of the same spec and settings once, where the tests that were collected import PyTorch."""
    with pytest.MonkeyPatch.context() as patch:
        if "dppo.learner.ppo.trainer" in sys.modules:
            from traced_once import trace_once

            trace_once(patch)
        yield


@pytest.fixture
def world() -> Iterator[Simulation]:
    """A learner and no actors; some modules have another one."""
    with Simulation() as made:
        yield made
