"""The evaluation at the end of a run: bounded, interruptible, and never at the cost of what was trained."""

import itertools
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from graphs import categorical_graph
from processes import REPOSITORY

from dppo.local import final_evaluation
from dppo.local.evaluation_process import read
from dppo.local.final_evaluation import Evaluated, evaluate_at_the_end
from dppo.local.run_summary import close_run
from dppo.protocol.errors import DppoError
from dppo.watch.episode_results import Played, Tally
from dppo.watch.evaluate import evaluate

SHORT_SECONDS = 5.0  # of an evaluation that its time ends: a busy machine gets so far in them as the test says
GRAPH = categorical_graph(np.zeros((4, 2)))
SUMMARY = """{"env": "X-v0", "reason": "over", "updates": 1, "steps": 8, "episodes": %d, "elapsed_seconds": 1.0,
"ledger": {"sealed": 8, "trained": 8, "pending": 0, "in_flight": 0, "dropped": {}}}"""


def run_of(path: Path, **kwargs: object) -> Path:
    """A finished run of an environment that ends badly in some way."""
    path.mkdir(exist_ok=True)
    (path / "policy.onnx").write_bytes(GRAPH)
    (path / "config.yaml").write_text(f"env: {{id: 'endings:Ending-v0', kwargs: {kwargs}}}")
    (path / "summary.json").write_text(SUMMARY % 3)
    return path


@pytest.fixture(autouse=True)
def environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests"))


def test_a_tally_gives_whole_rounds_where_there_are_some() -> None:
    tally = Tally()
    tally.begin("X-v0", 3, asked=6)
    with pytest.raises(DppoError, match="stopped after 9 s, and no episode was over"):
        tally.result(stopped="stopped after 9 s")
    tally.add(1, Played(5.0, 5, None))
    assert "1 of 6 episodes (interrupted; those that end first)" in tally.result(stopped="interrupted").summary()
    tally.add(0, Played(50.0, 50, None))
    tally.whole = 2
    tally.add(3, Played(1.0, 1, None))  # of a round whose long episodes are not over: it would make the mean too low
    result = tally.result(stopped="interrupted")
    assert (result.returns, result.asked, result.stopped) == ((50.0, 5.0), 6, "interrupted")


def test_what_is_told_over_a_pipe_is_the_same_tally() -> None:
    tally = Tally()
    lines = ('{"env": "X-v0", "version": 3, "asked": 2}', '{"number": 1, "played": [2.5, 7, true]}')
    assert [read(line, tally) for line in lines] == [(False, "")] * 2
    assert (tally.env, tally.version, tally.asked) == ("X-v0", 3, 2)
    assert tally.played == {1: Played(2.5, 7, True)}
    assert read('{"error": "no"}', tally) == (False, "no")
    assert read('{"whole": 2}', tally) == (False, "")
    assert read('{"over": true}', tally) == (True, "")
    assert tally.whole == 2


def test_an_evaluation_in_this_process_ends_when_its_time_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests"))
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(ticks) / 1000)  # a machine that has other work plays no less
    monkeypatch.setattr("dppo.watch.evaluate.time", clock)
    run = run_of(tmp_path, endless_from=2)
    result = evaluate(str(run), episodes=6, envs=2, max_seconds=0.5)
    assert (result.episodes, result.asked, result.stopped) == (4, 6, "stopped after 0.5 s")
    with pytest.raises(DppoError, match="no episode was over: does endings:Ending-v0 end"):
        evaluate(str(run_of(tmp_path, endless_from=0)), episodes=6, envs=2, max_seconds=0.5)


def test_a_close_that_raises_costs_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests"))
    assert evaluate(str(run_of(tmp_path, close="raise")), episodes=2).episodes == 2


def test_nothing_is_played_where_training_saw_no_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_of(tmp_path) / "summary.json").write_text(SUMMARY % 0)
    assert not close_run(tmp_path, episodes=5)
    said = capsys.readouterr().out
    assert "no evaluation: no episode ended in training" in said
    assert f"{tmp_path}/policy.onnx" in said


def played(run: Path, max_seconds: float = 60.0) -> Evaluated:
    return evaluate_at_the_end(run, episodes=3, envs=1, max_seconds=max_seconds)


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "episodes", "why"),
    [
        ({}, 3, ""),
        ({"endless_from": 2}, 2, f"stopped after {SHORT_SECONDS:g} s"),
        ({"hang_from": 1}, 1, f"stopped after {SHORT_SECONDS:g} s, hanging"),
        ({"hold_from": 1}, 1, f"stopped after {SHORT_SECONDS:g} s, hanging"),
        ({"segfault_from": 2}, 2, "its process was killed by SIGSEGV"),
        ({"leave_from": 1}, 1, "its process ended with code 0"),
        ({"close": "raise"}, 3, ""),
        ({"close": "hang"}, 3, ""),
        ({"close": "leave"}, 3, ""),
        ({"moves": 1}, 3, ""),
    ],
)
def test_whatever_the_environment_does_the_episodes_before_count(
    tmp_path: Path, how: dict[str, object], episodes: int, why: str
) -> None:
    result = played(run_of(tmp_path, **how), SHORT_SECONDS if "stopped" in why else 60.0).result
    assert result is not None
    assert (result.episodes, result.stopped.partition(" (")[0]) == (episodes, why)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"making": "raise"}, "cannot make endings:Ending-v0"),
        ({"making": "hang"}, f"stopped after {SHORT_SECONDS:g} s, hanging, and no episode was over"),
        ({"making": "segfault"}, "its process was killed by SIGSEGV"),
        ({"making": "leave"}, "its process ended with code 0"),
    ],
)
def test_where_no_episode_is_played_the_reason_is_said(tmp_path: Path, how: dict[str, object], why: str) -> None:
    evaluated = played(run_of(tmp_path, **how), SHORT_SECONDS if "stopped" in why else 60.0)
    assert evaluated.result is None
    assert why in evaluated.reason


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_evaluation_keeps_what_is_over(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting(Tally):
        def add(self, number_: int, played: Played) -> None:
            super().add(number_, played)
            os.kill(os.getpid(), number)  # the next episode hangs

    monkeypatch.setattr(final_evaluation, "Tally", Interrupting)
    run = run_of(tmp_path, hang_from=1)
    evaluated = played(run, max_seconds=60.0)
    assert evaluated.interrupted
    assert evaluated.result is not None
    assert "1 of 3 episodes (interrupted)" in evaluated.result.summary()
    assert close_run(run, episodes=0) is False
