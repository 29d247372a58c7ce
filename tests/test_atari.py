"""Atari through ale-py's own vector environment: the preset, lives, and stacks of frames like ale-py's."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from pictures import read_gif

from dppo.actor.envs.env_numbers import Place
from dppo.actor.envs.interface import Environments
from dppo.actor.envs.make import make_environments
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import EnvConfig, LearnerConfig
from dppo.learner.frame_stacks import rollout_spec
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.messages import EnvSettings
from dppo.protocol.rollout import pack
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import resolve
from dppo.watch.atari_games import SCORE, make_games
from dppo.watch.evaluate import ViewOptions, evaluate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ale_py") is None, reason="ale-py is not installed: pip install 'dppo[atari]'"),
]

ENVS = 2


@pytest.fixture(scope="module", autouse=True)
def _registry() -> Iterator[None]:
    """Importing ale_py registers hundreds of ids, which others expect not to be there."""
    before = set(gym.registry)
    yield
    for name in set(gym.registry) - before:
        del gym.registry[name]


def config_of(game: str, **kwargs: Any) -> LearnerConfig:
    plain = resolve(TrainConfig, flags={"env.id": f"ALE/{game}-v5"}, environ={}).config.learner
    flags = {"env.id": plain.env.id, "env.kwargs": {**plain.env.kwargs, **kwargs}}
    return resolve(TrainConfig, flags=flags, environ={}).config.learner


def made(env: EnvConfig) -> Environments:
    return make_environments(EnvSettings(env.id, env.kwargs_json, env.vectorization), ENVS)


def test_a_lost_life_ends_the_episode_and_the_game_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    environments = made(config_of("Breakout").env)
    assert isinstance(environments, VectorEnvironments)
    vector, results, after_ends = environments._vector, [], []
    do = vector.step
    monkeypatch.setattr(vector, "step", lambda actions: results.append(do(actions)) or results[-1])
    assert environments.description.startswith("native: AtariVectorEnv of 2 environments, SAME_STEP")
    environments.reset([1, 2])
    for step in range(150):
        result = environments.step(np.array([3, 1 if step % 2 else 0]))
        assert result.valid.all()
        assert not result.truncated.any()
        after_ends += results[-1][4]["lives"][result.terminated].tolist()
    assert set(after_ends) == {1, 2, 3, 4, 5}, "of five lives: with the last one a game begins anew"
    assert {leaf.shape for leaf in environments.spec.observation} == {(1, 84, 84)}
    environments.close()


def stacks(frames: int) -> np.ndarray:
    """[T, E, 4, 84, 84] as ale-py stacks them, or of single frames [T, E, 1, 84, 84], with the same actions."""
    environments = made(config_of("Pong", stack_num=frames).env)
    random = np.random.default_rng(1)
    first = environments.reset([3, 4])["observation"]
    steps = [environments.step(random.integers(0, 6, ENVS)) for _ in range(30)]
    environments.close()
    return np.stack([first, *(step.observations["observation"] for step in steps)])


def test_single_frames_stacked_are_those_that_ale_py_stacks() -> None:
    single, four = stacks(1), stacks(4)
    for step in range(3, 31):
        np.testing.assert_array_equal(four[step], single[step - 3 : step + 1, :, 0].swapaxes(0, 1))


def last_observation(mode: str) -> np.ndarray:
    """Final observations of games that are truncated in the same step."""
    environments = made(config_of("Pong", autoreset_mode=mode, max_num_frames_per_episode=80, noop_max=1).env)
    environments.reset([3, 4])
    for _ in range(40):
        step = environments.step(np.zeros(ENVS, np.int64))
        if step.truncated.any():
            environments.close()
            assert step.truncated.all()
            return step.final_observations["observation"]
    raise AssertionError("no game was truncated")


def test_games_that_take_too_long_are_truncated_with_their_last_observation() -> None:
    same_step, next_step = last_observation("SameStep"), last_observation("NextStep")
    assert same_step.any()
    np.testing.assert_array_equal(same_step, next_step)


@pytest.mark.thin(2)
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.parametrize("game", ["Pong", "Breakout"])
def test_the_preset_trains_on_what_actors_saw(game: str, mode: str) -> None:
    config = config_of(game, autoreset_mode=mode)
    environments = made(config.env)
    trainer = Trainer(environments.spec, ppo=config.ppo, network=config.network, seed=1, total_steps=1000)
    trainer.check_graph()
    collector = Collector(environments, seed=1, first_slot=0, life=0)
    for version in (1, 2):
        collector.load(PolicyRunner(trainer.graph_bytes(version)))
        for _ in range(64):
            collector.step()
        segment = collector.cut()
        assert segment is not None
        assert len(pack(rollout_spec(environments.spec, config.network), segment)) < 64 * ENVS * 84 * 84 * 1.1
        report = trainer.update([Received("actor", b"12345678", version, 0, segment, 1, version)])
        assert report.first_pass_ratio_error < 1e-4
    environments.close()


def test_an_evaluation_plays_whole_games_and_films_the_screen(tmp_path: Path) -> None:
    config = config_of("Breakout")
    environments = made(config.env)
    trainer = Trainer(environments.spec, ppo=config.ppo, network=config.network, seed=1, total_steps=1000)
    environments.close()
    (tmp_path / "policy.onnx").write_bytes(trainer.graph_bytes(1))
    settings = {"env": {"id": config.env.id, "vectorization": "native", "kwargs": config.env.kwargs}}
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    film = ViewOptions(str(tmp_path / "game.gif"), most_frames=40)
    filmed = evaluate(str(tmp_path), episodes=1, deterministic=False, watching=film)
    assert filmed.lengths == (39,)
    frames, durations, _ = read_gif(tmp_path / "game.gif")
    assert {frame.shape for frame in frames} == {(210, 160, 3)}
    assert durations[0] == pytest.approx(1000 / 15, abs=10)
    result = evaluate(str(tmp_path), episodes=2, deterministic=False)
    assert result.measure == SCORE
    assert min(result.lengths) > 100, "five lives"


def test_the_game_that_is_judged_is_the_one_that_is_trained_on() -> None:
    env = config_of("Breakout", repeat_action_probability=0.25).env
    trained, judged = (
        make_environments(EnvSettings(env.id, env.kwargs_json, env.vectorization), 1),
        make_games(env, 1, Place()),
    )
    random = np.random.default_rng(1)
    seen = [[environments.reset([7])["observation"]] for environments in (trained, judged)]
    for _ in range(150):
        action = random.integers(0, 4, 1)
        steps = [environments.step(action) for environments in (trained, judged)]
        assert steps[0].terminated == judged.for_policy(steps[1]).terminated
        assert steps[0].rewards == np.sign(steps[1].rewards)
        if steps[1].terminated.any():
            break
        for frames, step in zip(seen, steps, strict=True):
            frames.append(step.observations["observation"])
    np.testing.assert_array_equal(*map(np.stack, seen))
