"""Evaluations of environments that fail beside what counts, or whose pictures or metadata are odd."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from graphs import categorical_graph
from pictures import PIXEL
from test_evaluate import UNIFORM, run_directory

from dppo.cli import main
from dppo.protocol.errors import DppoError
from dppo.watch.evaluate import ViewOptions, evaluate, evaluation_seeds
from dppo.watch.rendering import frames_per_second


@pytest.mark.parametrize("how", ["reset", "step"])
def test_what_fails_after_an_episode_that_counts_costs_nothing(tmp_path: Path, how: str) -> None:
    config = f"env: {{id: 'flaky_env:Flaky-v0', kwargs: {{how: {how}}}}}"
    run = run_directory(tmp_path / "run", categorical_graph(np.zeros((4, 2))), config)
    result = evaluate(run, episodes=5, envs=3)
    assert (result.episodes, result.stopped) == (5, "")
    assert result.lengths == tuple(3 + seed % 4 for seed in evaluation_seeds(1, 0, 5))
    assert len(set(result.lengths)) > 1  # so that columns are over while others play


def test_what_was_played_before_an_environment_failed_is_shown_beside_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = "env: {id: 'flaky_env:Flaky-v0', kwargs: {how: odd}}"
    run = run_directory(tmp_path / "run", categorical_graph(np.zeros((4, 2))), config)
    odd = [seed % 2 for seed in evaluation_seeds(1, 0, 50)].index(1)
    assert odd > 0
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", run, "--episodes", "50", "--envs", "1"])
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert f"{odd} of 50 episodes (broken off), most likely actions: return " in out
    assert "the simulator lost its licence" in err


@pytest.mark.parametrize(
    ("picture", "complaint"),
    [
        ("grows", r"uint8 of shape \(9, 8, 3\) as frame 2 of an episode, and the film began with \(8, 8, 3\) uint8"),
        ("late", r"returned object of shape \(\) as frame 3 of an episode"),
    ],
)
@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_a_film_whose_pictures_change_is_one_line_and_no_file(
    tmp_path: Path, picture: str, complaint: str, kind: str
) -> None:
    run = run_directory(tmp_path / "run", UNIFORM, f"env: {{id: '{PIXEL}', kwargs: {{picture: {picture}}}}}")
    with pytest.raises(DppoError, match=complaint):
        evaluate(run, watching=ViewOptions(str(tmp_path / f"a.{kind}")))
    assert not list(tmp_path.glob("*.*"))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"render_fps": 50}, 50.0),
        *((told, 30.0) for told in (None, {}, {"render_fps": "fast"}, {"render_fps": -3}, {"render_fps": None})),
        ({"render_fps": float("nan")}, 30.0),
    ],
)
def test_the_pace_of_a_film_is_a_number_whatever_metadata_say(metadata: Any, expected: float) -> None:
    environment = gym.make("CartPole-v1").unwrapped
    environment.metadata = metadata
    assert frames_per_second(environment) == expected
