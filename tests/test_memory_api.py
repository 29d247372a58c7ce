"""Memory for users: predict with a state, evaluation, settings, what is refused."""

import functools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from pictures import read_gif
from test_docs_examples import blocks

import dppo
from dppo.api.policy import Policy
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.telemetry.tensorboard_graph import network_graph
from dppo.protocol.specs import spec_of
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import resolve
from dppo.watch.evaluate import evaluation_seeds
from dppo.watch.record_episode import film_policy

CARTPOLE_FRAMES_PER_SECOND = 50
BOX = gym.spaces.Box(-np.inf, np.inf, (3,))
SPEC = spec_of(BOX, gym.spaces.Box(-1, 1, (2,)))


def trainer_of(**network: Any) -> Trainer:
    chosen = NetworkConfig(policy_hidden=(), critic_hidden=(8,), memory_width=5, **network)
    return Trainer(SPEC, ppo=PpoConfig(), network=chosen, seed=1, total_steps=100)


@functools.cache
def remembering() -> Policy:
    return Policy(trainer_of(memory="gru").graph_bytes(1))


@pytest.mark.parametrize(("memory", "size"), [("gru", 5), ("lstm", 10)])
def test_a_state_is_passed_on_for_one_observation_and_for_a_batch(memory: str, size: int) -> None:
    policy = Policy(trainer_of(memory=memory).graph_bytes(1))
    observations = np.random.default_rng(1).normal(size=(4, 2, 3)).astype(np.float32)
    together, state = policy.predict(observations[0])
    assert state is not None
    assert (state.shape, state.dtype) == ((2, size), np.float32)
    one_state = None
    for step in range(1, 4):
        _, one_state = policy.predict(observations[step - 1][1], one_state)
        together, after = policy.predict(observations[step], state)
        assert after is not state
        assert not np.array_equal(after, state)
        forgotten, _ = policy.predict(observations[step])
        assert not np.array_equal(forgotten, together)
        zeros, _ = policy.predict(observations[step], np.zeros((2, size)))
        np.testing.assert_array_equal(zeros, forgotten)
        state = after
    alone, one_state = policy.predict(observations[3][1], one_state)
    np.testing.assert_allclose(alone, together[1], rtol=1e-4, atol=1e-8)
    assert one_state.shape == (size,)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (np.zeros(4), r"an array \(4,\) of float64: .* shape \(5,\), or None"),
        (np.zeros((1, 5)), r"an array \(1, 5\)"),
        ([0.0] * 5, "state is list"),
        (np.zeros(5, int), "of int64"),
    ],
)
def test_what_is_no_state_is_refused(state: Any, words: str) -> None:
    with pytest.raises(dppo.UsageError, match=words):
        remembering().predict([0.0, 0, 0], state)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"bptt_steps": 8}, r"bptt_steps=8 is of a memory, and there is none: set network\.memory to gru or lstm"),
        ({"memory_width": 32}, "memory_width=32 is of a memory"),
        ({"memory_layers": 2}, "memory_layers=2 is of a memory"),
        ({"memory": "gur"}, r"none of none, gru, lstm \(did you mean gru\?\), and no module:function"),
        ({"memory": "my_nets.py:make"}, r"network\.memory='my_nets\.py:make' must be module:function"),
        ({"memory": "a:b", "memory_layers": 2}, "say by network.memory_width how many numbers its state has"),
        ({"memory": "gru", "memory_layers": 0}, "memory_layers=0 must be at least 1"),
        ({"memory": "gru", "memory_width": 0}, "memory_width=0 must be at least 1"),
        ({"memory": "gru", "bptt_steps": -1}, "bptt_steps=-1 must be at least 0"),
        ({"memory": "gru", "policy": "a:b"}, "makes all parts: leave out network.memory=gru"),
        ({"memory": "lstm", "critic_encoder": "own"}, "leave it at shared"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_what_to_do(network: dict[str, Any], words: str) -> None:
    with pytest.raises(dppo.UsageError, match=words):
        NetworkConfig(**network)


def test_sizes_of_no_memory_are_refused_by_hand_even_where_they_are_the_defaults() -> None:
    flags = {"env.id": "CartPole-v1", "network.memory_width": 64}
    with pytest.raises(dppo.UsageError, match="memory_width=64 is of a memory, and there is none"):
        resolve(TrainConfig, flags=flags, environ={})
    assert resolve(TrainConfig, flags={**flags, "network.memory": "gru"}, environ={}).config


@pytest.mark.parametrize("memory", [pytest.param("gru", marks=pytest.mark.slow), "lstm"])
def test_networks_with_memory_can_be_drawn_and_checked(memory: str) -> None:
    trainer = trainer_of(memory=memory)
    trainer.check_graph()
    drawn = network_graph(trainer.policy, trainer.critic, SPEC)
    assert b"next_state" in drawn
    assert b"memory/layer/weight_hh_l0" in drawn


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, *, steps: int, **settings: Any) -> dppo.Result:
    (folder / "hidden_velocities.py").write_text(blocks("docs/memory.md")[0])
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    env = {"id": "CartPole-v1", "wrappers": ["hidden_velocities:HiddenVelocities"]}
    return dppo.train(env=env, actors=0, total_steps=steps, seed=1, verbose=False, **settings)


@pytest.mark.slow
def test_evaluation_and_film_play_what_predict_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(tmp_path, monkeypatch, steps=6_000, network={"memory": "lstm", "bptt_steps": 16})
    evaluation = dppo.evaluate(run.directory, episodes=3)
    policy, lengths = run.load_policy(), []
    for seed in evaluation_seeds(1, 0, 3):
        environment = gym.wrappers.TransformObservation(
            gym.make("CartPole-v1"), lambda seen: seen[[0, 2]], gym.spaces.Box(-np.inf, np.inf, (2,))
        )
        observation, _ = environment.reset(seed=seed)
        state, steps, over = None, 0, False
        while not over:
            action, state = policy.predict(observation, state)
            observation, _, terminated, truncated, _ = environment.step(action)
            steps, over = steps + 1, terminated or truncated
        lengths.append(steps)
    assert list(evaluation.lengths) == lengths
    _, film = film_policy(run.directory)  # of the first episode
    _, durations, _ = read_gif(film)  # milliseconds, of each frame but the last, which stays
    assert sum(durations[:-1]) / 1000 * CARTPOLE_FRAMES_PER_SECOND == pytest.approx(lengths[0], abs=2)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hidden_velocities_are_solved_with_a_memory_and_not_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns = {}
    for memory in ("gru", "none"):
        settings = {"network": {"memory": memory}, "ppo": {"learning_rate": 0.001}}
        run = trained(tmp_path, monkeypatch, steps=50_000, directory=f"runs/{memory}", **settings)
        returns[memory] = dppo.evaluate(run.directory, episodes=20).mean
    assert returns["gru"] > 300, returns
    assert returns["none"] < 100, returns
