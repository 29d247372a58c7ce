"""Evaluation of Atari by whole games with their own points, and their film; with a game in ale-py's words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lives_env import ENTRY_POINT, GAME, LIFE, LIVES, POINTS, LivesVector
from pictures import read_gif

import dppo.watch.evaluate
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import UsageError
from dppo.protocol.rollout import Leaves
from dppo.protocol.specs import spec_of
from dppo.watch.atari_games import SCORE
from dppo.watch.evaluate import ViewOptions, evaluate
from dppo.watch.evaluate_newest import best_before


@pytest.fixture(autouse=True)
def _in_ale_pys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dppo.watch.atari_games.ATARI_VECTOR", ENTRY_POINT)
    monkeypatch.setattr(LivesVector, "made", [])


def run_of(path: Path, *, memory: str = "none", vectorization: str = "native", arguments: str = "") -> str:
    game = LivesVector(1)
    spec = spec_of(game.single_observation_space, game.single_action_space)
    network = NetworkConfig(encoder="flat", memory=memory, memory_width=8 if memory != "none" else 64)
    path.mkdir()
    (path / "policy.onnx").write_bytes(
        Trainer(spec, ppo=PpoConfig(), network=network, seed=1, total_steps=1).graph_bytes(1)
    )
    kwargs = f"{{frameskip: 4, reward_clipping: true{arguments}}}"
    (path / "config.yaml").write_text(f"env: {{id: {GAME}, vectorization: {vectorization}, kwargs: {kwargs}}}")
    LivesVector.made.clear()
    return str(path)


@pytest.mark.parametrize("vectorization", ["native", "auto"])
def test_an_episode_is_a_whole_game_with_its_own_points(tmp_path: Path, vectorization: str) -> None:
    run = run_of(tmp_path / "run", vectorization=vectorization, arguments=", life_loss_info: true")
    result = evaluate(run, episodes=3, envs=2)
    assert result.returns == (POINTS * LIFE * LIVES,) * 3
    assert result.lengths == (LIFE * LIVES,) * 3
    assert result.measure == SCORE
    assert f"{SCORE} 84.0 +- 0.0" in result.summary()
    assert not any(game.is_clipped or game.ends_with_a_life for game in LivesVector.made)


@pytest.mark.parametrize(("arguments", "begins"), [(", life_loss_info: true", [0, 4, 8]), ("", [0])])
def test_a_memory_begins_anew_with_a_lost_life_where_it_did_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, begins: list[int]
) -> None:
    resets: list[bool] = []

    class Listening(dppo.watch.evaluate.PolicyRunner):
        def act(self, given: Leaves, noise: np.ndarray) -> Any:
            resets.extend(given["reset"].tolist())
            return super().act(given, noise)

    monkeypatch.setattr("dppo.watch.evaluate.PolicyRunner", Listening)
    evaluate(run_of(tmp_path / "run", memory="gru", arguments=arguments), episodes=1)
    assert np.flatnonzero(resets).tolist() == begins
    assert len(resets) == LIFE * LIVES


def test_the_film_shows_the_screen_in_colours_and_changes_no_result(tmp_path: Path) -> None:
    run, file = run_of(tmp_path / "run"), tmp_path / "film.gif"
    plain = evaluate(run, episodes=1)
    watched = evaluate(run, episodes=1, watching=ViewOptions(str(file)))
    assert watched.returns == plain.returns
    frames, durations, _ = read_gif(file)
    assert len(frames) == 1 + LIFE * LIVES
    assert frames[0].shape == (12, 8, 3)
    assert durations[0] == pytest.approx(1000 / 15, abs=10)
    played, shown = LivesVector.made[-2:]
    assert (played.seed, played.steps, shown.kind) == (shown.seed, shown.steps, (1, 12, 8, 3))


def test_a_window_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be watched in a window: film it with --video FILE\.mp4"):
        evaluate(run_of(tmp_path / "run"), episodes=1, watching=ViewOptions(window=True))


def test_scores_are_not_compared_with_returns_of_clipped_rewards(tmp_path: Path) -> None:
    (tmp_path / "policy-best.onnx").write_bytes(b"")
    (tmp_path / "eval.jsonl").write_text('{"return_mean": 900.0, "is_best": true}\n')
    assert best_before(tmp_path) == 900
    assert best_before(tmp_path, SCORE) == -np.inf
