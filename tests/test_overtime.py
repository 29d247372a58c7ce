"""End of an evaluation whose environments do not come back, and its wait for a video."""

import time
from collections.abc import Callable

import pytest

from dppo.settings.commands import EvaluateArguments
from dppo.watch import evaluate_command
from dppo.watch.episode_results import Played, Tally
from dppo.watch.evaluate_command import _Overtime

OVERTIME_SECONDS = 0.3


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why an evaluation was ended, instead of this process."""
    said: list[str] = []
    monkeypatch.setattr(evaluate_command, "OVERTIME_SECONDS", OVERTIME_SECONDS)
    monkeypatch.setattr(evaluate_command, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(_Overtime, "_end", lambda self, why: said.append(why))
    return said


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_video_that_is_being_written_is_waited_for_and_environments_that_hang_are_not(ends: list[str]) -> None:
    chosen = EvaluateArguments("runs/x", episodes=1, max_seconds=0.1, video="long.gif")
    tally = Tally(asked=1)
    tally.add(0, Played(500.0, 500, None))
    tally.film_is("being written")
    with _Overtime(chosen, tally):
        time.sleep(3 * OVERTIME_SECONDS)
        assert ends == []
        tally.film_is("written")
        until(lambda: ends)
