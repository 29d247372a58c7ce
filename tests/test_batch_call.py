"""Collecting ends everywhere: at the batch of all, at the shares of all but the late ones, or at a signal."""

import functools
import threading
from collections.abc import Iterator

import pytest
from group_threads import store

from dppo.learner.group.batch_call import BatchCall
from dppo.learner.group.torch_stores import Store
from dppo.learner.signals import Interrupted

WAIT = 10.0


@pytest.fixture
def shared() -> Iterator[Store]:
    with store() as made:
        yield made


class Calls:
    """Both ranks' calls for the end of a batch."""

    def __init__(self, shared: Store, late: int = 0) -> None:
        self.ended = [threading.Event(), threading.Event()]
        self.versions: list[list[int]] = [[], []]
        self.calls = [
            BatchCall(
                shared.clone(),
                ranks=2,
                batch_steps=100,
                late=late,
                called=functools.partial(self._called, rank),
                failed=lambda error: None,
            )
            for rank in range(2)
        ]
        for call in self.calls:
            call.start()

    def _called(self, rank: int, version: int) -> None:
        self.versions[rank].append(version)
        self.ended[rank].set()

    def wait(self) -> bool:
        """Whether both have been called; forgets it."""
        both = [event.wait(WAIT) for event in self.ended]
        for event in self.ended:
            event.clear()
        return all(both)

    def close(self) -> None:
        for call in self.calls:
            call.close()


def test_collecting_ends_everywhere_once_all_together_have_the_batch(shared: Store) -> None:
    calls = Calls(shared)
    for version in (3, 4):
        for call in calls.calls:
            call.report(version, 0)
        calls.calls[0].report(version, 60)
        calls.calls[1].report(version, 39)
        assert not calls.ended[0].wait(0.05)
        calls.calls[1].report(version, 40)
        assert calls.wait()
    assert calls.versions == [[3, 4], [3, 4]]
    calls.close()


def test_collecting_ends_once_all_but_the_late_ones_have_their_share(shared: Store) -> None:
    calls = Calls(shared, late=1)
    calls.calls[1].report(1, 0)
    calls.calls[0].report(1, 49)
    assert not calls.ended[1].wait(0.05)
    calls.calls[0].report(1, 50)
    assert calls.wait()
    calls.close()


def test_a_rank_that_has_its_share_waits_for_the_end_as_long_as_it_takes(shared: Store) -> None:
    calls = Calls(shared, late=1)
    looks = []

    def check() -> None:
        looks.append(1)
        if len(looks) == 2:
            calls.calls[0].report(7, 50)

    for call in calls.calls:
        call.report(7, 0)
    calls.calls[1].await_end(7, check)
    assert calls.versions[1] == [7]
    assert len(looks) >= 2
    with pytest.raises(Interrupted):
        calls.calls[1].await_end(8, interrupt)
    calls.close()


def interrupt() -> None:
    raise Interrupted


def test_a_signal_ends_the_batch_of_all(shared: Store) -> None:
    calls = Calls(shared)
    for call in calls.calls:
        call.report(5, 1)
    calls.calls[1].end(5)
    assert calls.wait()
    calls.close()
