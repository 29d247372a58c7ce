"""How to go on after an interrupt, with the command; and what an interrupt leaves."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from dppo.cli import run_command
from dppo.learner.hooks import find
from dppo.local import run_end
from dppo.local.launch_texts import again_text
from dppo.local.run_comparison import Standing
from dppo.local.run_end import Ending, leave
from dppo.local.run_summary import evaluate_the_last_policy
from dppo.local.train import run
from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build
from dppo.watch.evaluator import Evaluator
from dppo.watch.side_processes import SideProcesses

DIRECTORY = Path("runs/my run")


@pytest.fixture(autouse=True)
def no_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DPPO_LIFELINE_FD", raising=False)


def test_the_same_command_goes_on_as_it_was_typed() -> None:
    arguments = ("--env", "Pendulum-v1", "--env.kwargs", "{g: 9.8}")
    line = "the same command goes on with it: dppo train --env Pendulum-v1 --env.kwargs '{g: 9.8}'"
    assert again_text("train", arguments, DIRECTORY) == line
    assert again_text("learner", (), DIRECTORY) == "the same command goes on with it: dppo learner"


def test_a_command_for_a_new_directory_names_the_one_it_has_taken() -> None:
    line = "go on with it: dppo train --seed 2 --run.directory x --run.directory 'runs/my run'"
    assert again_text("train", ("--seed", "2", "--run.new", "--run.directory", "x"), DIRECTORY) == line


def test_another_command_that_waits_for_this_one_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPPO_LIFELINE_FD", "5")
    assert again_text("train", (), DIRECTORY) == ""


@pytest.mark.parametrize("ending", [Ending.INTERRUPTED, Ending.BROKEN_OFF])
@pytest.mark.parametrize("is_nothing", [True, False])
def test_an_interrupted_run_says_how_to_go_on_unless_nothing_is_left(
    ending: Ending,
    is_nothing: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    closed: list[int] = []
    monkeypatch.setattr("dppo.local.run_summary.close_run", lambda directory, episodes: closed.append(episodes))
    with SideProcesses(TrainConfig(), tmp_path, print) as sides:
        code = leave(ending, tmp_path, sides, "go on with it: dppo train", lambda: is_nothing)
    assert code == 130
    out = capsys.readouterr().out
    assert ("nothing was trained, and what this start had made is removed" in out) is is_nothing
    assert out.endswith("\ngo on with it: dppo train\n") is not is_nothing
    assert closed == ([0] if ending is Ending.INTERRUPTED and not is_nothing else [])


def test_the_command_hands_on_what_was_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dppo.local.train.run", lambda config, *, texts, **rest: said.append(texts.again) or 0)
    (tmp_path / "runs/CartPole-v1").mkdir(parents=True)
    assert run_command(["train", "CartPole-v1", "--run.new", "--actors", "1"]) == 0
    assert run_command(["train", "CartPole-v1"]) == 0
    assert said == [
        "go on with it: dppo train CartPole-v1 --actors 1 --run.directory runs/CartPole-v1-2",
        "the same command goes on with it: dppo train CartPole-v1",
    ]


def test_results_of_a_call_end_without_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("close_run", "check_that_episodes_ended", "film"):
        monkeypatch.setattr(f"dppo.local.run_summary.{name}", lambda *_, **__: None)
    monkeypatch.setattr("dppo.local.run_summary.say_what_is_next", lambda *_, **__: pytest.fail("a command"))
    with SideProcesses(TrainConfig(), tmp_path, print) as sides:
        assert run_end.close(TrainConfig(), tmp_path, sides, shows_commands=False) == 0


def test_after_a_run_that_is_over_the_last_policy_is_judged_before_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name, answer in (
        ("close_run", False), ("check_that_episodes_ended", None), ("evaluate_the_last_policy", False),
        ("film", None), ("say_what_is_next", None),
    ):  # fmt: skip
        monkeypatch.setattr(
            f"dppo.local.run_summary.{name}", lambda *_, name=name, answer=answer, **__: calls.append(name) or answer
        )
    with SideProcesses(TrainConfig(), tmp_path, print) as sides:
        assert run_end.close(TrainConfig(), tmp_path, sides) == 0
    assert calls == [
        "close_run", "check_that_episodes_ended", "evaluate_the_last_policy", "film", "say_what_is_next",
    ]  # fmt: skip


class Judge:
    """An evaluator that is interrupted or not."""

    max_seconds = 7.0

    def __init__(self, *, may_evaluate: bool, signals: bool = False) -> None:
        self.may_evaluate, self.signals = may_evaluate, signals
        self.evaluated = False

    def stop(self) -> None:
        """End what runs."""

    def evaluate_the_end(self, is_interrupted: Callable[[], bool]) -> None:
        self.evaluated = True
        if self.signals:
            os.kill(os.getpid(), signal.SIGINT)
        assert is_interrupted() is self.signals


@pytest.mark.parametrize(
    ("episodes", "judge", "evaluated"),
    [
        (3, Judge(may_evaluate=True), True),
        (3, Judge(may_evaluate=True, signals=True), True),
        (0, Judge(may_evaluate=True), False),  # none ends in an evaluation either
        (3, Judge(may_evaluate=False), False),
    ],
)
def test_the_evaluation_of_the_last_policy_is_announced_and_can_be_interrupted(
    episodes: int, judge: Judge, evaluated: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"episodes": episodes}))
    assert evaluate_the_last_policy(tmp_path, cast(Evaluator, judge)) is judge.signals
    assert judge.evaluated is evaluated
    assert ("Evaluating it, for at most 7 s (Ctrl-C ends it)" in capsys.readouterr().out) is evaluated


def test_a_finished_run_refuses_hooks_that_a_new_one_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Standing] = []
    finished = Standing(tmp_path, begun=True, over="done")
    monkeypatch.setattr("dppo.local.train.checked", lambda config: finished)
    monkeypatch.setattr("dppo.local.train.show_finished", shown.append)
    monkeypatch.setattr("dppo.local.launching.check_hooks", lambda name: find(name) and None)
    wrong = build(TrainConfig, {"run.hooks": "test_launch_texts:Nothing"})
    with pytest.raises(UsageError, match="has no 'Nothing'"):
        run(wrong)
    with pytest.raises(UsageError, match="have none of on_episode, on_update, on_end"):
        run(TrainConfig(), hooks=object())
    assert shown == []
    assert run(TrainConfig()) == 0
    assert shown == [finished]
