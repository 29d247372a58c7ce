"""Odd arguments of the Python API: each is an error of ours in one line, before anything is written."""

import contextlib
import errno
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
import pytest
from test_api_policy import cartpole_graph
from test_plot import run_directory

import dppo
from dppo.api import training_process
from dppo.api.policy import Policy
from dppo.api.results import read_result
from dppo.local.launch_texts import LaunchTexts
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import values_of

unchecked: Any = dppo  # what a type checker would not let through


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(call: Callable[[], object], kind: type[dppo.DppoError] = dppo.DppoError) -> str:
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert "--" not in text
    return text


ODD_PATHS: dict[str, Any] = {
    "null byte": "a\0b",
    "long": "x" * 300,
    "bytes": b"runs/x",
    "number": 3,
    "list": ["a", "b"],
}
TAKES_A_PATH: dict[str, Callable[[Any], object]] = {
    "load_policy": dppo.load_policy,
    "evaluate": dppo.evaluate,
    "video": lambda path: dppo.evaluate("runs/x", video=path),
    "plot": dppo.plot,
    "output": lambda path: dppo.plot("runs/x", output=path),
    "runs": dppo.runs,
    "from_yaml": dppo.Config.from_yaml,
    "to_yaml": lambda path: dppo.Config().to_yaml(path),
    "config": lambda path: dppo.train(config=path, actors=0),
    "directory": lambda path: dppo.train("CartPole-v1", actors=0, directory=path),
    "init_from": lambda path: dppo.train("CartPole-v1", actors=0, init_from=path),
}


@pytest.mark.parametrize(("call", "path"), list(itertools.product(TAKES_A_PATH, ODD_PATHS)))
def test_whatever_is_no_path_is_one_line(folder: Path, call: str, path: str) -> None:
    assert complaint(lambda: TAKES_A_PATH[call](ODD_PATHS[path]))
    assert list(folder.iterdir()) == []


class Watching:
    """Hooks as they should be."""

    def on_update(self, status: object) -> None: ...


class NeedsOne(Watching):
    def __init__(self, path: str) -> None: ...


class RaisesWhenMade(Watching):
    def __init__(self) -> None:
        raise LookupError("no\nlicence")


class ExitsWhenMade(Watching):
    def __init__(self) -> None:
        raise SystemExit(0)


class HasRaisingProperty(Watching):
    @property
    def on_end(self) -> NoReturn:
        raise OSError("not connected")


class AnswersToEveryName:
    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"no {name} here")


HOOKS: list[tuple[Any, str]] = [
    (NeedsOne, "hooks=NeedsOne: making it, without arguments, failed: TypeError: "),
    (RaisesWhenMade, "hooks=RaisesWhenMade: making it, without arguments, failed: LookupError: no licence"),
    (ExitsWhenMade, "failed: SystemExit: 0"),
    (HasRaisingProperty(), "HasRaisingProperty: looking at its methods failed: OSError: not connected"),
    (HasRaisingProperty, "HasRaisingProperty: looking at its methods failed: OSError: not connected"),
    (AnswersToEveryName(), "AnswersToEveryName: looking at its methods failed: RuntimeError: no on_episode here"),
    (
        [Watching(), Watching()],
        "hooks is a list: give one class, or with actors=0 one object, that has at least one of",
    ),
    (lambda status: None, "hooks is a function: give one class"),
    (Watching().on_update, "hooks is a method: give one class"),
    (3, "the hooks builtins:int have none of on_episode, on_update, on_end: give them one"),
    (SimpleNamespace(), "the hooks types:SimpleNamespace have none of"),
]


@pytest.mark.parametrize(("hooks", "words"), HOOKS, ids=[words[:30] for _, words in HOOKS])
def test_hooks_that_cannot_be_called_are_one_line(folder: Path, hooks: Any, words: str) -> None:
    assert words in complaint(lambda: dppo.train("CartPole-v1", actors=0, hooks=hooks), dppo.UsageError)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("hooks", [[Watching()], lambda status: None, 3])
def test_what_is_no_hook_is_not_asked_to_move_into_a_module(hooks: Any) -> None:
    assert "actors=0" not in complaint(lambda: dppo.train("CartPole-v1", hooks=hooks)).partition(":")[0]
    assert "module" not in complaint(lambda: dppo.train("CartPole-v1", hooks=hooks))


class OfSeveralLines:
    def __repr__(self) -> str:
        return "first\n  second"


class WithoutText:
    def __repr__(self) -> NoReturn:
        raise ValueError


@pytest.mark.parametrize("value", [np.eye(3), OfSeveralLines(), [[1.0], "a\nb"], {"x": "a\nb"}])
def test_values_are_shown_in_one_line(folder: Path, value: Any) -> None:
    for call in (
        lambda: dppo.train("CartPole-v1", ppo={"gamma": value}),
        lambda: dppo.train("CartPole-v1", **{"network.activation": value}),
        lambda: dppo.train(ppo=value),
        lambda: dppo.train(env=value),
        lambda: dppo.train(preset=value),
        lambda: dppo.Config.from_dict({"ppo.gamma": value}),
        lambda: unchecked.evaluate("x", episodes=value),
    ):
        complaint(call, dppo.UsageError)
    assert list(folder.iterdir()) == []


def test_an_environment_that_has_no_text_is_named_by_its_class() -> None:
    assert "env is <WithoutText, whose repr() failed>" in complaint(lambda: unchecked.train(env=WithoutText()))


def test_a_registered_spec_is_answered_with_its_id() -> None:
    text = complaint(lambda: unchecked.train(env=gym.spec("CartPole-v1")), dppo.UsageError)
    assert text == "env is a EnvSpec: give its id, here 'CartPole-v1'"


def test_a_policy_begins_its_samples_anew() -> None:
    policy = Policy(cartpole_graph(), seed=3)
    first = [policy.predict(np.zeros((8, 4)), deterministic=False)[0].tolist() for _ in range(3)]
    policy.seed(3)
    assert [policy.predict(np.zeros((8, 4)), deterministic=False)[0].tolist() for _ in range(3)] == first
    wrong: Any
    for wrong in (-1, 1.5, "a", [1]):
        assert complaint(partial(policy.seed, wrong), dppo.UsageError).startswith("seed=")


def test_a_policy_that_is_not_there_is_named_in_the_words_of_python(folder: Path) -> None:
    (folder / "policy.onnx").write_bytes(cartpole_graph())
    for call in (lambda: dppo.load_policy(folder, best=True), lambda: dppo.load_policy("policy.onnx", best=True)):
        assert "best=True" in complaint(call, dppo.UsageError)


def test_what_is_not_installed_is_named_with_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_directory(folder / "a", [1.0, 2.0])

    def missing(*_: object, **__: object) -> NoReturn:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr("dppo.watch.plot.plot", missing)
    assert complaint(lambda: dppo.plot(run), dppo.UsageError).endswith("pip install 'dppo[learner]'")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EMFILE, errno.ENAMETOOLONG])
def test_a_machine_that_has_no_more_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def failing(*_: object, **__: object) -> NoReturn:
        raise OSError(number, "the machine's word", "some/file")

    monkeypatch.setattr("dppo.watch.plot.plot", failing)
    text = complaint(lambda: dppo.plot("runs/x"))
    assert text.startswith("some/file: the machine's word; ")


def test_a_working_directory_that_is_gone_is_one_line(folder: Path) -> None:
    (folder / "gone").mkdir()
    os.chdir(folder / "gone")
    (folder / "gone").rmdir()
    for actors in (0, 1):
        text = complaint(partial(dppo.train, "CartPole-v1", actors=actors))
        assert text == "the working directory has been removed: change to another one"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
def test_a_machine_that_has_no_more_in_the_process_of_the_run_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def failing(*_: object, **__: object) -> NoReturn:
        raise OSError(number, "the machine's word", "some/file")

    monkeypatch.setattr("dppo.local.train.run", failing)
    monkeypatch.setattr(training_process, "leaves_nothing", lambda *_, **__: contextlib.nullcontext())
    given = {"settings": values_of(TrainConfig()), "texts": asdict(LaunchTexts())}
    code, ended = training_process._train(json.dumps(given).encode())
    assert (code, ended["kind"]) == (1, "DppoError")
    assert ended["error"].startswith("some/file: the machine's word; ")


SUMMARIES: list[Any] = [[], {}, {"steps": "many", "updates": True, "mean_return": [1], "reason": 3}, 3, "text", None]


@pytest.mark.parametrize("summary", SUMMARIES)
def test_runs_with_files_of_any_content_are_listed(folder: Path, summary: Any) -> None:
    run_directory(folder / "edited", [1.0])
    (folder / "edited" / "summary.json").write_text(json.dumps(summary))
    run_directory(folder / "sound", [1.0])
    (folder / "sound" / "summary.json").write_text('{"steps": 3, "updates": 1, "mean_return": 2, "reason": "x"}')
    for name in ("notes.txt", "run [1]", "a=b", "policy.onnx"):
        (folder / name).mkdir()
    (folder / "away").symlink_to(folder / "nowhere")
    (folder / "\udcff").write_text("a name that is no UTF-8")
    records = {record.directory.name: record for record in dppo.runs(folder)}
    assert set(records) == {"edited", "sound"}
    assert (records["edited"].steps, records["edited"].updates, records["edited"].mean_return) == (None, None, None)
    assert (records["sound"].steps, records["sound"].updates, records["sound"].mean_return) == (3, 1, 2.0)


@pytest.mark.parametrize("summary", SUMMARIES)
def test_a_summary_that_was_edited_is_no_result(folder: Path, summary: Any) -> None:
    (folder / "summary.json").write_text(json.dumps(summary))
    assert "how the run went could not be read" in complaint(lambda: read_result(folder))
