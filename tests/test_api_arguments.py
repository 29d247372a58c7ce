"""Arguments of the Python API that are of another type than they must be: one line, as for every wrong setting."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dppo
from dppo.api.evaluation import checked
from dppo.settings.commands import EvaluateArguments

unchecked: Any = dppo  # what a type checker would not let through


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: unchecked.train(config=[1]), "config is of type list: give a Config, a dict, or the path of a YAML"),
        (lambda: unchecked.load_policy(5), "path is of type int: give a path"),
        (lambda: unchecked.load_policy(None), "path is of type NoneType: give a path"),
        (lambda: unchecked.evaluate(None), "run is of type NoneType: give a path"),
        (lambda: unchecked.evaluate("x", video=3), "video is of type int: give a path"),
        (lambda: unchecked.plot(["a", "b"]), "run is of type list: give a path"),
        (lambda: unchecked.Config.from_dict([]), "settings are a list: give a dict"),
        (lambda: unchecked.Config.from_yaml(None), "path is of type NoneType: give a path"),
    ],
)
def test_what_is_no_path_is_one_line(
    call: Callable[[], object], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(dppo.UsageError, match=text) as raised:
        call()
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: unchecked.evaluate("x", n_eval_episodes=3),
            "dppo.evaluate: unknown argument n_eval_episodes (here",
        ),
        (lambda: unchecked.evaluate("x", detreministic=1), "detreministic (did you mean deterministic?)"),
        (lambda: unchecked.train(run={"new": True}), "unknown key run.new (it is no setting, and stands outside of"),
        (lambda: unchecked.train(run={"new": True}), "them: give new=True)"),
        (lambda: unchecked.train(env="CartPole-v1", policy_kwargs={}), "(here it is network.policy_hidden and"),
        (lambda: unchecked.train("CartPole-v1", preset=3), "preset=3: give its name as a text"),
        (lambda: unchecked.train("MlpPolicy"), "env.id='MlpPolicy' is a class of Stable-Baselines3: leave it out"),
    ],
)
def test_arguments_of_other_libraries_are_answered_by_calls(call: Callable[[], object], words: str) -> None:
    with pytest.raises(dppo.UsageError, match=re.escape(words)):
        call()


@pytest.mark.parametrize("number", [2, np.int64(2), np.uint8(2), np.float32(2), "2"])
def test_numbers_of_numpy_are_numbers(number: Any) -> None:
    arguments = checked(EvaluateArguments, {"episodes": number, "best": np.True_}, "dppo.evaluate")
    assert arguments == {"episodes": 2, "best": True}
    assert {type(value) for value in arguments.values()} == {int, bool}


def test_a_seed_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dppo.train(env="CartPole-v1", actors=0, total_steps=1, evaluation_episodes=0, verbose=False)
    wrong: Any
    for wrong in ("a", -1, 1.5):
        with pytest.raises(dppo.UsageError, match="seed="):
            dppo.load_policy("runs/CartPole-v1", seed=wrong)
    unchecked.load_policy("runs/CartPole-v1", seed=np.int64(3))
