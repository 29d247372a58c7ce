"""Defects of the original tutorial's runs that are not copied: what is reported of episodes, and how a run ends.

The original's order of things is written down anew in a few lines, as functions whose text names the defect. Against
them stand runs of its presets in this process, whose environments have a witness, and a real one.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from processes import SMALL, Place, RunFiles
from simulators import BREAKING
from test_tutorial_defects_rollouts import tutorial

import dppo.learner.ppo.judged_rows
from dppo.cli import main
from dppo.local.inline import run_inline
from dppo.local.progress import Progress
from dppo.watch.recorder import Recorder

Episodes = list[list[float]]  # rewards as paid; the last one is not over


class Witness(gym.Wrapper[Any, Any, Any, Any]):
    """Remembers what the environment pays."""

    def __init__(self, environment: gym.Env[Any, Any], episodes: Episodes) -> None:
        super().__init__(environment)
        self._episodes = episodes

    def reset(self, **kwargs: Any) -> Any:
        self._episodes.append([])
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        result = self.env.step(action)
        self._episodes[-1].append(float(result[1]))
        return result


@dataclass(frozen=True)
class Ran:
    """A run to its end, and what was seen of it from outside."""

    files: RunFiles
    episodes: list[Episodes]  # of each environment
    trained_on: np.ndarray  # [T, environments] rewards, of all updates

    @property
    def finished(self) -> list[list[float]]:
        return [episode for of_one in self.episodes for episode in of_one[:-1]]

    @property
    def unfinished(self) -> list[list[float]]:
        return [of_one[-1] for of_one in self.episodes if of_one[-1]]


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a preset of the tutorial's in this process with its environment watched."""

    def run(preset: str, **flags: Any) -> Ran:
        config = tutorial(preset, env__id="Watched-v0", run__directory=str(tmp_path), run__tensorboard=False, **flags)
        episodes: list[Episodes] = []
        original = tutorial(preset).learner.env.id

        def make() -> gym.Env[Any, Any]:
            episodes.append([])
            return Witness(gym.make(original), episodes[-1])

        trained_on: list[np.ndarray] = []
        gae = dppo.learner.ppo.judged_rows.gae

        def watched(rewards: np.ndarray, *rest: Any) -> Any:
            trained_on.append(rewards)
            return gae(rewards, *rest)

        monkeypatch.setattr(dppo.learner.ppo.judged_rows, "gae", watched)
        gym.register("Watched-v0", entry_point=make)
        progress = Progress()
        with Recorder(config.learner.run, tmp_path, progress.note) as recorder:
            assert not run_inline(config, progress, recorder)
        return Ran(RunFiles(tmp_path), episodes, np.concatenate(trained_on))

    yield run
    gym.registry.pop("Watched-v0", None)


def moving_reward(returns: list[float]) -> float:
    """What the original plots."""
    moving = returns[0]
    for episode_return in returns[1:]:
        moving = 0.9 * moving + 0.1 * episode_return
    return moving


# Episodes that the run's end cuts short


def recorded_by_the_original(ran: Ran) -> list[float]:
    """Defect: when the budget is used up, episodes that still run are recorded as if they were over. Returns."""
    return [sum(episode) for episode in (*ran.finished, *ran.unfinished)]


@pytest.mark.slow
def test_episodes_that_the_end_of_the_run_cuts_short_are_in_no_statistic(run: Run) -> None:
    ran = run("dppo", collect__envs_per_actor=4, run__total_steps=1000)
    assert [len(episode) for episode in ran.finished] == [200] * 4
    assert [len(episode) for episode in ran.unfinished] == [56] * 4
    true = [sum(episode) for episode in ran.finished]
    assert moving_reward(recorded_by_the_original(ran)) > moving_reward(true) + 100  # cut short, and so less was lost
    last, summary = ran.files.metrics()[-1], ran.files.summary()
    assert last["steps"] == sum(map(len, ran.finished + ran.unfinished))
    assert (last["episodes"], last["mean_length"], summary["episodes"]) == (4, 200, 4)
    assert last["mean_return"] == summary["mean_return"] == pytest.approx(np.mean(true))


# Shaped rewards


def reported_by_the_original(episode: list[float]) -> float:
    """Defect: the -10 that stands for the fall in training is in the return that is reported."""
    return sum(episode[:-1]) - 10


def test_the_cart_poles_reported_return_is_its_length_while_0_and_minus_11_are_trained_on(run: Run) -> None:
    ran = run("dppo-discrete", run__total_steps=512)
    lengths = [len(episode) for episode in ran.finished]
    assert len(lengths) > 10
    assert [reported_by_the_original(episode) for episode in ran.finished] == [length - 11 for length in lengths]
    last = ran.files.metrics()[-1]
    assert last["mean_return"] == last["mean_length"] == pytest.approx(np.mean(lengths))
    assert ran.files.summary()["mean_return"] == last["mean_return"]
    expected = np.zeros(len(ran.trained_on))
    expected[np.cumsum(lengths) - 1] = -11  # where it falls
    np.testing.assert_array_equal(ran.trained_on[:, 0], expected)


def test_the_pendulums_reported_return_is_what_it_paid_while_eighths_from_8_on_are_trained_on(run: Run) -> None:
    ran = run("dppo", run__total_steps=256)
    ((paid, more),) = ran.episodes
    np.testing.assert_allclose(ran.trained_on[:, 0], (np.array(paid + more) + 8) / 8, rtol=1e-5, atol=1e-6)
    assert ran.files.metrics()[-1]["mean_return"] == pytest.approx(sum(paid))
    assert sum(paid) < -100 < ran.trained_on[: len(paid)].sum()  # a return of the trained rewards would show


# The end. That a run whose budget is used up ends by itself with 0 is tested in test_local_run.py; that one whose
# actors fail again and again ends with 1, in test_local_run_environments.py.


def workers_go_on_after(update: Callable[[], None]) -> bool:
    """Defect: workers wait without limit for an event that only the updater sets; nobody asks whether it lives."""
    rolling = threading.Event()

    def updater() -> None:
        with suppress(ArithmeticError):  # as a thread that dies: what it says is printed, and that is all
            update()
            rolling.set()

    thread = threading.Thread(target=updater)
    thread.start()
    thread.join()
    return rolling.is_set()


def fail() -> None:
    raise ArithmeticError("nan")


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


def test_an_environment_that_only_fails_ends_a_run_in_one_process_and_is_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the try before the run finds it, too
    flags = ("--env", BREAKING, "--env.kwargs", "{steps: 0}", "--run.directory", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        main(["train", *SMALL, *flags, "--actors", "0"])
    assert end.value.code == 1
    assert "the simulator lost its licence" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_an_update_that_fails_ends_learner_and_actors_and_says_why_in_one_line(place: Place) -> None:
    assert workers_go_on_after(lambda: None)
    assert not workers_go_on_after(fail)
    too_large = ("--ppo.learning-rate", "1e30", "--ppo.max-grad-norm", "0")
    command = place.start("train", *SMALL, *too_large, "--env", "CartPole-v1", "--run.directory", "run")
    place.ends(command, code=1)
    place.leaves_nothing()
    (line,) = command.complained().splitlines()
    assert "training diverged in epoch 1" in line
    assert "lower ppo.learning_rate" in line
