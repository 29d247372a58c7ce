"""Every kind of action through both sides: the graph, the environments, the wire, an update, and the Python API."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime as ort
import pytest
import torch
from accepted_rollouts import collected
from acting_envs import ACTIONS, DEEP, OBSERVED, Acts, leaves_in_order, wrong_dtypes
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from shards import examples

from dppo.actor.envs.interface import Environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.noise import drawn
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.api.policy import Policy
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Spec, spec_from_json, spec_of, spec_to_json

ENVS = 2
ROWS = 10


def trainer_of(spec: Spec, seed: int = 1, **network: Any) -> Trainer:
    config = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), **network)
    return Trainer(spec, ppo=PpoConfig(minibatch_steps=8, epochs=2), network=config, seed=seed, total_steps=1000)


def made(space: gym.Space[Any], vectorisation: Any) -> tuple[Environments, list[Acts]]:
    acting = [Acts(space) for _ in range(ENVS)]
    if vectorisation == "sync":
        return SyncLoop(acting), acting
    acting.clear()

    def make() -> Acts:
        acting.append(Acts(space))
        return acting[-1]

    vector = SyncVectorEnv([make] * ENVS, autoreset_mode=vectorisation)
    del acting[:-ENVS]  # what a vector makes to look at
    return VectorEnvironments(vector, "test", "per_column"), acting


def check_given(spec: Spec, segment: Segment, column: int, environment: Acts) -> None:
    """Check that the environment was given what was stored, after start or bounds."""
    for place, leaf in enumerate(spec.action):
        stored = segment.actions[leaf.name][segment.valid[:, column], column]
        given = np.array([action[place] for action in environment.actions])
        if leaf.kind == "box":
            low, high = (np.reshape(side, leaf.shape if len(side) > 1 else ()) for side in (leaf.low, leaf.high))
            expected = stored.clip(low, high)
            expected = expected if given.dtype.kind == "f" else expected.round()
            np.testing.assert_allclose(given, expected, rtol=2e-3, atol=2e-3)  # float16
        else:
            starts = np.reshape(leaf.starts, leaf.shape)
            np.testing.assert_array_equal(given.astype(np.int64), stored.astype(np.int64) + starts)


def agree(space: gym.Space[Any], vectorisation: Any, seed: int) -> None:
    environments, acting = made(space, vectorisation)
    spec = environments.spec
    assert spec_from_json(spec_to_json(spec)) == spec
    trainer, resumed = trainer_of(spec, seed), trainer_of(spec, seed)
    collector = Collector(environments, seed=seed, first_slot=0, life=0, on_crash=lambda crash: pytest.fail(str(crash)))
    for version in (1, 2):
        received = collected(environments.spec, trainer, version, collector, rows=ROWS)
        for column, environment in enumerate(acting):
            check_given(spec, received.segment, column, environment)
            environment.actions.clear()
        report = trainer.update([received])
        assert report.ratio_excess <= 1, report.first_pass_ratio_error
        if version == 1:
            resumed.load(trainer.tensors(), trainer.counters())
            trainer = resumed
    wrong = [what for environment in acting for what in environment.wrong]
    assert not wrong, wrong[0]
    check_policy(space, trainer.graph_bytes(3))


def check_policy(space: gym.Space[Any], graph: bytes) -> None:
    """A loaded policy gives what the environment takes, alone and in batches."""
    policy = Policy(graph, seed=1)
    for deterministic in (True, False):
        action, _ = policy.predict(np.zeros(3, np.float32), deterministic=deterministic)
        assert space.contains(action)
        assert not wrong_dtypes(space, action)
        batch, _ = policy.predict(np.zeros((4, 3), np.float32), deterministic=deterministic)
        assert all(len(leaf) == 4 for _, leaf in leaves_in_order(space, batch))


VECTORISATIONS = st.sampled_from(["sync", *AutoresetMode])
CASES = {"space": ACTIONS, "vectorisation": VECTORISATIONS, "seed": st.integers(0, 2**31 - 1)}


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
@example(DEEP, "sync", 1)
@example(DEEP, AutoresetMode.NEXT_STEP, 2)
@example(spaces.MultiDiscrete([[2, 3]], start=[[5, 0]]), "sync", 3)
@example(spaces.MultiBinary(3), AutoresetMode.SAME_STEP, 4)
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_every_kind_of_action(space: Any, vectorisation: Any, seed: int) -> None:
    agree(space, vectorisation, seed)


@pytest.mark.slow
@settings(max_examples=examples(150, 50), suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_hundreds_of_action_spaces(space: Any, vectorisation: Any, seed: int) -> None:
    agree(space, vectorisation, seed)


class Strict(Acts):
    """Raises what is wrong."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        result = super().step(action)
        assert not self.wrong, self.wrong[0]
        return result


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_processes_get_the_structure_of_their_actions() -> None:
    vector = AsyncVectorEnv([partial(Strict, DEEP)] * ENVS, context="spawn", autoreset_mode=AutoresetMode.SAME_STEP)
    environments = VectorEnvironments(vector, "async", "per_column")
    try:
        collector = Collector(
            environments, seed=1, first_slot=0, life=0, on_crash=lambda crash: pytest.fail(str(crash))
        )
        trainer = trainer_of(environments.spec)
        assert trainer.update([collected(environments.spec, trainer, 1, collector, rows=ROWS)]).ratio_excess <= 1
    finally:
        environments.close()


SPACES = {
    "ragged": spaces.MultiDiscrete([2, 4, 3]),
    "rank 2": spaces.MultiDiscrete([[3, 3], [3, 3]], start=[[1, 2], [3, 4]]),
    "flags": spaces.MultiBinary([2, 2]),
    "integers": spaces.Box(np.array([0, -3], np.int16), np.array([9, 3], np.int16), dtype=np.int16),
    "many integers": spaces.Box(-3000, 3000, (2,), np.int16),
    "boxes": spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Box(0, 3, ())}),
    "deep": DEEP,
}


@pytest.mark.fast(2)
@pytest.mark.parametrize("std", ["free", "state"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_the_exported_graph_equals_the_network(space: gym.Space[Any], std: str) -> None:
    trainer = trainer_of(spec_of(OBSERVED, space), std=std, action_bounds="rescale")
    graph = trainer.graph_bytes(1)
    session, runner = ort.InferenceSession(graph), PolicyRunner(graph)
    rng = np.random.default_rng(1)
    for noise in (drawn(rng, runner.noise_parts, 64), np.zeros((64, runner.noise_size), np.float32)):
        observation = rng.uniform(-1, 1, (64, 3)).astype(np.float32)
        got = session.run(None, {"observation": observation, "noise": noise})
        with torch.no_grad():
            expected = trainer.policy(torch.from_numpy(observation), torch.from_numpy(noise))
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert one.dtype == other.numpy().dtype
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-5)


def test_choices_are_sampled_with_their_probabilities_and_without_noise_the_most_likely_is() -> None:
    trainer = trainer_of(spec_of(OBSERVED, spaces.Dict({"a": spaces.Box(-1, 1), "b": spaces.MultiDiscrete([2, 4])})))
    with torch.no_grad():
        last = trainer.policy.body[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([5.0, *np.log([0.2, 0.8]), 9.0, 9.0, *np.log([0.1, 0.4, 0.3, 0.2])]))
    runner = PolicyRunner(trainer.graph_bytes(1))
    rows = 20_000
    observations = {"observation": np.zeros((rows, 3), np.float32)}
    actions, given, _ = runner.act(observations, drawn(np.random.default_rng(1), runner.noise_parts, rows))
    assert sorted(given) == ["env_action.a", "env_action.b"]
    for column, expected in enumerate([[0.2, 0.8], [0.1, 0.4, 0.3, 0.2]]):
        counts = np.bincount(actions["action.b"][:, column], minlength=len(expected))
        np.testing.assert_allclose(counts / rows, expected, atol=0.015)
    actions, given, _ = runner.act(observations, np.zeros((rows, runner.noise_size), np.float32))
    assert actions["action.b"][0].tolist() == [1, 1]
    assert (actions["action.a"][0].tolist(), given["env_action.a"][0].tolist()) == ([5.0], [1.0])
