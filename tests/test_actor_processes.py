"""Actors of one command: when they are started."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dppo.local import actor_processes
from dppo.local.actor_processes import AT_A_TIME, FIRST_SECONDS, ActorProcesses
from dppo.local.processes import Child
from dppo.protocol.process.lifeline import Lifeline


class Planned(Child):
    """An actor whose start is only noted."""

    def start(self) -> None:
        """Start nothing."""


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int, int, list[float]], ActorProcesses]:
    """Make so many actors on a machine of so many cores, with a clock that is the number in the list."""

    def make(count: int, cores: int, clock: list[float]) -> ActorProcesses:
        monkeypatch.setattr(actor_processes, "usable_cores", lambda: cores)
        monkeypatch.setattr(actor_processes, "memory_for_another", lambda started, starting: (True, 1, 1))
        lifeline = Lifeline()
        planned = [Planned(f"actor-{i}", (), tmp_path / "log", lifeline) for i in range(count)]
        return ActorProcesses(planned, note=print, ended=lambda child, code: None, clock=lambda: clock[0])

    return make


@pytest.mark.parametrize(("count", "cores", "learners"), [(1, 1, 1), (2, 2, 1), (3, 4, 2), (AT_A_TIME, 2, 1)])
def test_where_cores_are_short_a_learner_starts_before_the_actors(
    actors: Callable[..., ActorProcesses], count: int, cores: int, learners: int
) -> None:
    clock = [100.0]
    heard, unheard = actors(count, cores, clock), actors(count, cores, clock)
    for several in (heard, unheard):
        several.let_first(learners)
        several.start_more()
        assert several.started == []
    heard.let_first(0)
    heard.start_more()
    assert len(heard.started) == count
    clock[0] += FIRST_SECONDS / 2
    unheard.start_more()
    assert unheard.started == []
    clock[0] += FIRST_SECONDS  # a learner that says nothing does not keep them away
    unheard.start_more()
    assert len(unheard.started) == count


@pytest.mark.parametrize(("count", "cores"), [(1, 2), (3, 4), (4, 64)])
def test_where_there_is_a_core_for_each_all_start_at_once(
    actors: Callable[..., ActorProcesses], count: int, cores: int
) -> None:
    several = actors(count, cores, [100.0])
    several.let_first(1)
    several.start_more()
    assert len(several.started) == count
