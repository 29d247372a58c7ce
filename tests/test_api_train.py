"""`dppo.train` in this process, and the errors of every call."""

import functools
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import simulators

import dppo
from dppo.api.callables import name_of
from dppo.api.config import resolved_settings
from dppo.settings.commands import TrainConfig

SMALL: dict[str, Any] = {
    "preset": "none",
    "actors": 0,
    "total_steps": 512,
    "collect": {"batch_steps": 256, "envs_per_actor": 4},
    "ppo": {"epochs": 2, "minibatch_steps": 128},
    "network": {"policy_hidden": (16,), "critic_hidden": [16]},
    "run.tensorboard": False,
    "evaluation_episodes": 2,
}
ROBOT = """
import gymnasium as gym

def make_env(limit=20):
    return gym.wrappers.TimeLimit(gym.make("CartPole-v1"), limit)

class Reach:
    class Inner:
        @staticmethod
        def make():
            return make_env()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with my_robot_of_api.py in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_robot_of_api.py").write_text(ROBOT)
    yield tmp_path
    sys.modules.pop("my_robot_of_api", None)


def config_of(**keywords: Any) -> TrainConfig:
    config, preset = keywords.pop("config", None), keywords.pop("preset", "")
    return resolved_settings(config, preset, keywords).config


def complaint(**keywords: Any) -> str:
    with pytest.raises(dppo.DppoError) as caught:
        dppo.train(**keywords)
    assert "\n" not in str(caught.value)
    assert not Path("runs").exists(), "written before the settings were right"
    return f"{type(caught.value).__name__}: {caught.value}"


def test_a_run_from_start_to_evaluation(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (list(sys.path), os.environ.copy(), os.getcwd())
    result = dppo.train(env="my_robot_of_api:make_env", directory="runs/first", **SMALL)
    assert (list(sys.path), os.environ.copy(), os.getcwd()) == before
    assert (result.directory, result.env) == (folder / "runs/first", "my_robot_of_api:make_env")
    assert (result.steps, result.updates, result.reason) == (512, 2, "512 of 512 steps are done")
    assert len(result.returns) == len(result.return_steps) == 2
    assert result.return_steps == (256, 512)
    assert result.returns[-1] == result.mean_return == result.summary["mean_return"]
    assert result.evaluation is not None
    assert (result.evaluation.episodes, result.evaluation.policy_version) == (2, 3)
    assert max(result.evaluation.lengths) <= 20
    assert result.policy.is_file()
    policy = result.load_policy(seed=1)
    assert policy.version == 3
    assert policy.predict(np.zeros(4))[0] in (0, 1)
    assert "512 steps sealed = 512 trained" in str(result)
    printed, _ = capfd.readouterr()
    assert "512 steps sealed = 512 trained" in printed

    again = dppo.train(env="my_robot_of_api:make_env", directory="runs/first", **SMALL)
    assert again == result
    assert "is finished; nothing was started" in capfd.readouterr().out
    longer = dppo.train(env="my_robot_of_api:make_env", directory="runs/first", **(SMALL | {"total_steps": 768}))
    assert (longer.steps, longer.updates) == (768, 3)
    with pytest.raises(dppo.UsageError, match=r"holds a run with other settings \(ppo.gamma"):
        dppo.train(env="my_robot_of_api:make_env", directory="runs/first", **SMALL, **{"ppo.gamma": 0.5})
    other = dppo.train(env="my_robot_of_api:make_env", directory="runs/first", new=True, **SMALL)
    assert other.directory == folder / "runs/first-2"
    assert [run.directory.name for run in dppo.runs()] == ["first-2", "first"]


@pytest.mark.slow
def test_nothing_is_printed_where_that_is_asked_for(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = dppo.train(env="CartPole-v1", verbose=False, **SMALL)
    assert capfd.readouterr() == ("", "")
    assert dppo.evaluate(result, 3, envs=2).episodes == 3
    assert dppo.plot(result, output="curve.svg") == Path("curve.svg")
    assert dppo.plot(*dppo.runs()).samefile("runs/CartPole-v1/curve.png")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


class NotebookStream(io.TextIOBase):
    """As a notebook's: written to by any thread, no terminal, and its descriptor is another file's."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, text: str) -> int:
        self.texts.append(text)
        return len(text)

    def fileno(self) -> int:
        return 2


@pytest.mark.slow
def test_lines_go_where_the_cells_output_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = NotebookStream()
    monkeypatch.setattr(sys, "stdout", stream)
    dppo.train(env="CartPole-v1", **SMALL)
    text = "".join(stream.texts)
    assert "actor-0 joined with 4 environments" in text  # printed by the drawing thread
    assert "steps sealed = " in text
    assert "\x1b" not in text


def test_a_thread_is_refused_where_signals_are_needed(folder: Path) -> None:
    errors: list[BaseException] = []

    def call() -> None:
        try:
            dppo.train(env="CartPole-v1", **SMALL)
        except dppo.UsageError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(60)
    assert "only the main thread can: call it there, or give actors=1" in str(errors[0])
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"gamma": 1}, "UsageError: dppo.train: unknown key gamma (did you mean ppo.gamma?)"),
        ({"total_timesteps": 1}, "unknown key total_timesteps (here it is run.total_steps)"),
        ({"ppo": {"gama": 1}}, "unknown key ppo.gama (did you mean ppo.gamma?)"),
        ({"ppo": {"gamma": 3}}, "UsageError: ppo.gamma=3.0 is outside 0..1"),
        ({"ppo": 3}, "ppo: 3 is not a mapping"),
        ({"ppo": {"gamma": 0.9}, "ppo.gamma": 0.8}, "ppo.gamma is given twice"),
        ({"env": "CartPole-v1", "env.id": "a"}, "env.id is given twice"),
        ({"env": "CartPole-v1", "total_steps": 5, "run": {"total_steps": 6}}, "run.total_steps is given twice"),
        ({"actors": "two"}, "actors: 'two' is not a whole number"),
        ({"actors": -1}, "actors=-1 must be at least 0"),
        ({"bind": "tcp://0.0.0.0:1"}, "unknown key bind"),
        ({"preset": "nothing"}, "unknown preset nothing"),
        ({"config": "nothing.yaml"}, "cannot read nothing.yaml"),
        ({"config": {"ppo": {"gama": 1}}}, "config: unknown key ppo.gama"),
        ({"env": ""}, "is empty: give a Gymnasium id"),
        ({"env": "my_env.py", "actors": 0}, "is a file: register an environment in it"),
        ({"env": "no_such_module_of_ours:make", "actors": 0}, "No module named 'no_such_module_of_ours'"),
        ({"env": "CartPol-v1", "actors": 0}, "did you mean CartPole-v"),
        ({"env": 3}, "env is 3: give an id"),
        ({"env": {"kwargs": {"x": np.zeros(2)}, "id": "CartPole-v1"}}, "must be plain JSON values"),
    ],
)
def test_wrong_settings_are_one_line_before_anything_is_written(
    folder: Path, keywords: dict[str, Any], words: str
) -> None:
    assert words in complaint(**keywords)


def test_an_error_is_the_one_of_the_command(folder: Path) -> None:
    text = complaint(env="my_robot_of_api:make_nothing", **(SMALL | {"actors": 2}))
    assert text.startswith("UsageError: my_robot_of_api registers no environment 'make_nothing'")


def make_here() -> gym.Env[Any, Any]:
    return gym.make("CartPole-v1")


class Made:
    """Has methods that make environments."""

    @staticmethod
    def make() -> gym.Env[Any, Any]:
        return make_here()

    @classmethod
    def of_class(cls) -> gym.Env[Any, Any]:
        return make_here()

    def of_object(self) -> gym.Env[Any, Any]:
        return make_here()


def test_functions_and_classes_are_named() -> None:
    assert name_of(make_here) == f"{__name__}:make_here"
    assert name_of(Made.make) == f"{__name__}:Made.make"
    assert name_of(Made.of_class) == f"{__name__}:Made.of_class"
    assert name_of(simulators.GatedCartPole) == "simulators:GatedCartPole"
    assert config_of(env=simulators.GatedCartPole).learner.env.id == "simulators:GatedCartPole"
    nested = {"id": make_here, "kwargs": {"limit": 3}}
    assert config_of(env=nested).learner.env.kwargs == {"limit": 3}
    assert config_of(config={"env": nested}).learner.env.id == f"{__name__}:make_here"


def in_main() -> None: ...


in_main.__module__ = "__main__"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: make_here(), "env is a lambda, which actors cannot import: move it into a module"),
        (in_main, "env=in_main is defined in __main__, which actors cannot import: move it into a module"),
        (Made().of_object, "is not what"),
        (functools.partial(make_here), "is a partial, which has"),
        (gym.make("CartPole-v1"), "is made already (TimeLimit): give its id, here 'CartPole-v1'"),
    ],
)
def test_what_actors_cannot_find_is_refused_with_what_to_do(folder: Path, make: Any, words: str) -> None:
    assert words in complaint(env=make)


def test_a_nested_function_is_refused(folder: Path) -> None:
    def make() -> None: ...

    assert "is defined inside a function, where actors cannot find it: move it into a module" in complaint(env=make)


def test_a_run_that_fails_raises_and_leaves_nothing_behind(folder: Path) -> None:
    (folder / "bad_robot_of_api.py").write_text("def make_env(): raise RuntimeError('no licence')\n")
    assert "no licence" in complaint(env="bad_robot_of_api:make_env", **SMALL)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"episodes": 0}, "episodes=0 must be at least 1"),
        ({"episodes": "many"}, "dppo.evaluate: episodes: 'many' is not a whole number"),
        ({"video": "x.avi"}, "no known format"),
        ({"render": "maybe"}, "dppo.evaluate: render: 'maybe' is not one of none, human"),
    ],
)
def test_wrong_arguments_of_an_evaluation(folder: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(dppo.UsageError) as caught:
        dppo.evaluate("runs/x", **arguments)
    assert words in str(caught.value)


def test_runs_and_curves_that_are_not_there(folder: Path) -> None:
    assert dppo.runs() == []
    for call in (
        lambda: dppo.evaluate("runs/x"),
        lambda: dppo.plot("runs/x"),
        lambda: dppo.plot(),
        lambda: dppo.plot("runs/x", y="reward"),
        lambda: dppo.load_policy("runs/x"),
        lambda: dppo.runs("elsewhere"),
    ):
        with pytest.raises(dppo.UsageError) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_policy_of_a_run_with_metrics_of_its_own_is_loaded(folder: Path) -> None:
    settings = {**SMALL, "evaluation_episodes": 0, "run.metrics": ["distance"], "run.step_metrics": ["power"]}
    result = dppo.train(env="my_robot_of_api:make_env", **settings)
    assert result.load_policy().predict(np.zeros(4))[0] in (0, 1)


def test_an_environment_that_only_this_process_has_registered(folder: Path) -> None:
    gym.register("Reach-v9", entry_point="my_robot_of_api:make_env")
    try:
        with pytest.raises(dppo.UsageError, match=r"as in env='my_robot_of_api:Reach-v9'$"):
            dppo.train(env="Reach-v9", **SMALL)
    finally:
        del gym.registry["Reach-v9"]
