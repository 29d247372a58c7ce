"""What holds for all tests."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings
from sessions import Simulation

# the same examples every time, and no deadline: a busy machine is no bug
settings.register_profile("dppo", derandomize=True, deadline=None)
settings.load_profile("dppo")


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives until the end: all tests, torch, onnx. It was 13 of 185 s of CPU."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def world() -> Iterator[Simulation]:
    """A learner and no actors; some modules have another one."""
    with Simulation() as made:
        yield made
