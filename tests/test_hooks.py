"""Hooks: code of a user's that is called between updates, that may end a run, and whose errors lose nothing."""

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from processes import RunFiles, assert_closes

from dppo.learner.config import CollectConfig, EnvConfig, LearnerConfig, NetworkConfig, PpoConfig, RunConfig
from dppo.learner.hooks import HookCalls, HookError, Hooks, hook_calls, load
from dppo.learner.ppo.batch import Received
from dppo.learner.run_status import RunStatus
from dppo.learner.storage.checkpoint import newest
from dppo.learner.telemetry.episode_stats import Episode
from dppo.local.hooks_check import check_hooks
from dppo.local.inline import run_inline
from dppo.local.progress import Progress
from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.watch.recorder import Recorder

PAGE = Path(__file__).parent.parent / "docs" / "hooks.md"
STATUS = RunStatus(3, 40, 2, 1.5, 1.25, 0, 0, 0, None, 0.25, {"kl": 0.1}, "runs/x")
BATCH = 128


class Recording(Hooks):
    """Keeps its calls; ends the run after so many updates."""

    def __init__(self, updates: int = 1000) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._updates = updates

    def on_episode(self, episode: Episode) -> None:
        self.calls.append(("episode", episode))

    def on_update(self, status: RunStatus) -> Literal["stop"] | None:
        self.calls.append(("update", status))
        return "stop" if status.updates >= self._updates else None

    def on_end(self, summary: Mapping[str, Any]) -> None:
        self.calls.append(("end", summary))

    def of(self, method: str) -> list[Any]:
        return [argument for name, argument in self.calls if name == method]


class Raising:
    """Has one method only, which raises in the second update."""

    def on_update(self, status: RunStatus) -> None:
        if status.updates == 2:
            raise ZeroDivisionError("a bug of the user's")


class Leaving:
    """Ends its process, or tries to."""

    def on_update(self, status: RunStatus) -> None:
        sys.exit(0)


class RaisingAtTheEnd:
    """Raises once all is over."""

    def on_end(self, summary: Mapping[str, Any]) -> None:
        raise OSError("the service is gone")


class Answering:
    """Returns what means nothing."""

    def on_update(self, status: RunStatus) -> str:
        return "Stop"


class Misspelt:
    """One method as it should be, and one almost."""

    def on_update(self, status: RunStatus) -> None:
        """Watch."""

    def on_episodes(self, episode: Episode) -> None:
        """Watch in vain."""


class Empty:
    """No method that is called."""

    def watch(self, status: RunStatus) -> None:
        raise AssertionError


def with_episodes(*episodes: tuple[float, int, float]) -> Received:
    returns, lengths, successes = zip(*episodes, strict=True)
    segment = SimpleNamespace(episode_returns=returns, episode_lengths=lengths, episode_successes=successes)
    return cast(Received, SimpleNamespace(segment=segment))


def test_an_update_hands_over_its_episodes_in_order_and_then_the_status() -> None:
    hooks = Recording()
    batch = [with_episodes((1.0, 3, math.nan), (2.0, 4, 1.0)), with_episodes((5.0, 6, 0.0))]
    HookCalls(hooks).after_update(batch, STATUS)
    expected = [Episode(1.0, 3), Episode(2.0, 4, 1.0), Episode(5.0, 6, 0.0)]
    assert hooks.calls == [*(("episode", episode) for episode in expected), ("update", STATUS)]


def test_methods_are_optional_but_one_is_needed() -> None:
    HookCalls(Raising()).end({})
    with pytest.raises(UsageError, match="have none of on_episode, on_update, on_end"):
        HookCalls(Empty())


def test_an_answer_that_means_nothing_is_an_error() -> None:
    with pytest.raises(HookError, match=r"on_update of .*Answering returned 'Stop': return 'stop' or None"):
        HookCalls(Answering()).after_update([], STATUS)


def test_a_hook_that_has_raised_is_not_called_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[object] = []
    calls = HookCalls(SimpleNamespace(on_update=Leaving().on_update, on_end=ended.append))
    with pytest.raises(HookError, match="raised SystemExit: 0"):
        calls.after_update([], STATUS)
    calls.end({})
    assert ended == []
    assert "in on_update\n    sys.exit(0)" in caplog.text


def test_a_slow_hook_is_named_once_and_its_time_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    times = iter((0.0, 0.5, 10.0, 12.5, 20.0, 23.0))
    calls = HookCalls(Recording(), "mine:Slow", clock=lambda: next(times))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            calls.after_update([], STATUS)
    assert [record.getMessage() for record in caplog.records] == [
        "the hook mine:Slow took 2.5 s after update 3, in which nothing is trained; it is not named again"
    ]
    assert calls.seconds == 6.0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere_at_all:X", r"cannot import 'nowhere_at_all': ModuleNotFoundError: .*\. Is it installed here"),
        ("test_hooks:Recordin", "'test_hooks' has no 'Recordin': did you mean"),
        ("test_hooks:BATCH", "is a int: name a class"),
        ("test_hooks:Empty", "has none of on_episode, on_update, on_end"),
        ("broken_hooks:X", "cannot import 'broken_hooks': ZeroDivisionError"),
        ("needy_hooks:Needy", "making it, without arguments, failed: TypeError"),
        ("test_hooks:Misspelt", "has on_episodes, which is never called: did you mean on_episode"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    (tmp_path / "broken_hooks.py").write_text("1 / 0")
    (tmp_path / "needy_hooks.py").write_text("class Needy:\n def __init__(self, x): ...\n def on_end(self, s): ...")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=reason) as caught:
        load(name)
    assert str(caught.value).startswith(f"run.hooks={name}")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_hooks_are_found_by_a_process_of_its_own_which_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("class A:\n def __init__(self): 1 / 0\n def on_end(self, summary): ...")
    monkeypatch.chdir(tmp_path)
    check_hooks("mine:A")
    with pytest.raises(UsageError, match=r"run\.hooks=mine:B: 'mine' has no 'B': did you mean A\?"):
        check_hooks("mine:B")
    assert "mine" not in sys.modules


@pytest.mark.parametrize("name", ["my_hooks", "my_hooks:", ":X", "my-hooks:X", "my_hooks:X y", "a:b:c"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"must be module:Class"):
        RunConfig(hooks=name)


def test_hooks_are_not_given_twice() -> None:
    assert hook_calls("") is None
    with pytest.raises(UsageError, match="given twice"):
        hook_calls("test_hooks:Recording", Recording())


Train = Callable[..., RunFiles]


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Train]:
    """Train for four updates in this process."""

    def run(hooks: object | None = None, name: str = "", total_steps: int = 4 * BATCH) -> RunFiles:
        files = RunFiles(tmp_path / "run")
        config = LearnerConfig(
            env=EnvConfig("CartPole-v1"),
            collect=CollectConfig(batch_steps=BATCH, envs_per_actor=4),
            ppo=PpoConfig(epochs=1, minibatch_steps=64),
            network=NetworkConfig(policy_hidden=(8,), critic_hidden=(8,)),
            run=RunConfig(str(files.path), total_steps=total_steps, checkpoint_seconds=1e6, tensorboard=False),
        )
        config = replace(config, run=replace(config.run, hooks=name, checkpoint_share=0.0))
        progress = Progress()
        with Recorder(config.run, files.path, progress.note) as recorder:
            assert not run_inline(TrainConfig(config, actors=0), progress, recorder, hooks=hooks)
        return files

    return run


def test_a_run_calls_its_hooks_after_every_update_and_at_its_end(train: Train) -> None:
    hooks = Recording()
    files = train(hooks)
    statuses = hooks.of("update")
    metrics = files.metrics()
    assert [status.updates for status in statuses] == [line["update"] for line in metrics] == [1, 2, 3, 4]
    assert [status.steps for status in statuses] == [line["steps"] for line in metrics]
    assert [status.metrics["kl"] for status in statuses] == [line["kl"] for line in metrics]
    assert statuses[0].run_directory == str(files.path)
    summary = files.summary()
    assert len(hooks.of("episode")) == summary["episodes"] == statuses[-1].episodes > 0
    assert json.loads(json.dumps(hooks.of("end"))) == [summary]
    assert summary["hook_seconds"] > 0


def test_stop_ends_the_run_in_order_and_the_same_command_goes_on(train: Train) -> None:
    files = train(Recording(updates=2))
    assert files.summary()["reason"] == "stopped by the hook test_hooks:Recording after update 2"
    assert_closes(files.ledger())
    checkpoint = newest(files.path / "checkpoints", lambda text: None)
    assert checkpoint is not None
    assert checkpoint.update == 2
    assert train(name="test_hooks:Recording").summary()["updates"] == 4  # run.hooks may change
    assert '"run.hooks"' in (files.path / "history.jsonl").read_text()


def test_an_error_of_a_hook_fails_the_run_with_its_traceback_and_all_saved(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(HookError, match="on_update of test_hooks:Raising raised ZeroDivisionError: a bug") as caught:
        train(Raising())
    assert caught.value.exit_code == 1
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert 'raise ZeroDivisionError("a bug of the user' in caplog.text
    files = RunFiles(tmp_path / "run")
    assert files.summary()["reason"] == f"failed: {caught.value}"
    assert files.summary()["updates"] == 2
    assert_closes(files.ledger())
    checkpoint = newest(files.path / "checkpoints", lambda text: None)
    assert checkpoint is not None
    assert checkpoint.update == 2
    assert train().summary()["updates"] == 4


def test_an_error_at_the_end_comes_after_all_is_saved(train: Train, tmp_path: Path) -> None:
    with pytest.raises(HookError, match=r"on_end of .* raised OSError: the service is gone"):
        train(RaisingAtTheEnd())
    assert RunFiles(tmp_path / "run").summary()["reason"].endswith(" of 512 steps are done")


def test_the_example_of_the_documentation_works(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = PAGE.read_text().partition("```python\n")[2].partition("```")[0]
    (tmp_path / "my_hooks.py").write_text(code.replace(">= 40", ">= 5"))
    monkeypatch.syspath_prepend(tmp_path)
    files = train(name="my_hooks:StopWhenGood")
    lines = [json.loads(line) for line in (files.path / "returns.jsonl").read_text().splitlines()]
    assert lines[0]["update"] == 1
    assert sum(len(line["returns"]) for line in lines) == files.summary()["episodes"] > 0
    assert "over: stopped by the hook my_hooks:StopWhenGood after update" in capsys.readouterr().out


def test_every_field_of_the_status_is_documented() -> None:
    table = PAGE.read_text().partition("`status` is a frozen record")[2].partition("\n## ")[0]
    assert [name for name in RunStatus.__annotations__ if f"`{name}`" not in table] == []
