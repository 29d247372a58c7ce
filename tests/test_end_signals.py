"""A request to end: updates may finish, and those that take too long are cut off where that loses nothing."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from dppo.learner.signals import Abandoned, EndSignals, Interrupted

PATIENCE = 0.05
LONG = 5.0  # never waited for where all is well


@pytest.fixture
def signals() -> Iterator[EndSignals]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield EndSignals(PATIENCE)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def come(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)  # handlers run between two bytecodes


def work(seconds: float, *numbers: int) -> bool:
    """An update, during which these come. Returns whether it got to its end."""
    for number in numbers:
        come(number)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_found_when_asked_for(signals: EndSignals, number: int) -> None:
    assert not signals
    signals.check()
    come(number)
    assert signals
    with pytest.raises(Interrupted):
        signals.check()


def test_an_update_that_takes_too_long_is_cut_off(signals: EndSignals) -> None:
    with pytest.raises(Abandoned), signals.cutting(allowed=True):
        work(LONG, signal.SIGTERM)


def test_the_signal_may_have_come_before_the_update_began(signals: EndSignals) -> None:
    come(signal.SIGTERM)
    with pytest.raises(Abandoned), signals.cutting(allowed=True):
        work(LONG)


def test_the_second_signal_does_not_wait(signals: EndSignals) -> None:
    patient = EndSignals(LONG)
    began = time.monotonic()
    with pytest.raises(Abandoned), patient.cutting(allowed=True):
        work(LONG, signal.SIGINT, signal.SIGINT)
    assert time.monotonic() - began < LONG


def test_a_short_update_comes_to_its_end_and_nothing_is_raised_behind_it(signals: EndSignals) -> None:
    patient = EndSignals(LONG)  # a busy machine may stop us for longer than PATIENCE
    with patient.cutting(allowed=True):
        assert work(0.001, signal.SIGTERM)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    come(signal.SIGALRM)
    come(signal.SIGTERM)
    assert patient


def test_an_update_that_cannot_be_taken_back_comes_to_its_end(signals: EndSignals) -> None:
    with signals.cutting(allowed=False):
        assert work(4 * PATIENCE, signal.SIGTERM, signal.SIGTERM)
    assert signals
