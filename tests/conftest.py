"""What holds for all tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from sessions import Simulation

# the same examples every time, and no deadline: a busy machine is no bug
settings.register_profile("dppo", derandomize=True, deadline=None)
settings.load_profile("dppo")


@pytest.fixture
def world() -> Iterator[Simulation]:
    """A learner and no actors; some modules have another one."""
    with Simulation() as made:
        yield made
