"""Exploration that depends on the state (gSDE): its distribution, its graph, and the noise that actors hold."""

import math
import runpy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch
from test_docs_examples import blocks
from torch.distributions import Normal
from trainer_batches import OBSERVATIONS

from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.noise import NoiseStream
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import NetworkConfig
from dppo.learner.models.building import build_networks
from dppo.learner.models.distributions import Joint
from dppo.learner.models.exploration import Exploring
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.learner.models.squashed_gaussian import SquashedGaussian
from dppo.learner.ppo.gradients_analytic import applies_to
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec, spec_of

BOX = gym.spaces.Box(-2, 2, (2,))
DICT = gym.spaces.Dict(arm=BOX, tools=gym.spaces.MultiDiscrete([3, 2]))
EXPLORING = NetworkConfig(policy_hidden=(8, 5), exploration="state", initial_log_std=-0.5)
HIDDEN = 6  # and a 1


def policy_for(spec: Spec, network: NetworkConfig = EXPLORING) -> PolicyNetwork:
    policy, critic = build_networks(spec, network, 1)
    assert not applies_to(policy, critic)
    with torch.no_grad():
        assert policy.log_std is not None
        policy.log_std.add_(0.3 * torch.randn(policy.log_std.shape, generator=torch.Generator().manual_seed(0)))
    return policy


def distribution_at(policy: PolicyNetwork, observation: torch.Tensor) -> Exploring:
    distribution = policy.distribution(policy.encode({"observation": observation}))
    numbers = distribution.numbers if isinstance(distribution, Joint) else distribution
    assert isinstance(numbers, Exploring)
    return numbers


def test_in_each_state_samples_are_gaussian_as_the_log_prob_says() -> None:
    policy = policy_for(spec_of(OBSERVATIONS, BOX))
    assert (policy.noise, policy.outputs) == (f"normal:{2 * HIDDEN}:4", 2 * HIDDEN)
    state = torch.tensor([[0.5, -1.0, 2.0]])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        distribution = distribution_at(policy, state.expand(10_000, 3))
        samples = distribution.sample(torch.randn(10_000, policy.outputs, generator=generator))
        hidden = torch.cat([policy.body[:-1](policy.encode({"observation": state})), torch.ones(1, 1)], 1)[0]
    assert policy.log_std is not None
    variance = sum(hidden[i] ** 2 / HIDDEN * torch.exp(2 * policy.log_std[i]) for i in range(HIDDEN))
    normal = Normal(distribution.gaussian.mean[0], torch.as_tensor(variance).sqrt())
    torch.testing.assert_close(distribution.log_prob(samples), normal.log_prob(samples).sum(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(distribution.entropy()[0], normal.entropy().sum())
    for number in range(2):
        ranks = np.sort(normal.cdf(samples)[:, number].detach().numpy())
        distance = np.abs(ranks - np.arange(1, 10_001) / 10_000).max()
        assert distance * math.sqrt(10_000) < 1.63  # exceeded once in a hundred
    assert abs(np.corrcoef(samples.T)[0, 1]) < 0.04
    torch.testing.assert_close(distribution.sample(torch.zeros(10_000, policy.outputs))[0], normal.mean)


def test_a_std_at_the_start_is_near_that_of_the_setting() -> None:
    policy, _ = build_networks(spec_of(OBSERVATIONS, BOX), EXPLORING, 1)
    observation = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    stds = distribution_at(policy, observation).gaussian.log_std.exp()
    assert 0.4 * math.exp(-0.5) < stds.mean() < math.exp(-0.5)


def test_exploration_trains_its_stds_and_leaves_the_hidden_layers_alone() -> None:
    policy = policy_for(spec_of(OBSERVATIONS, BOX))
    distribution = distribution_at(policy, torch.ones(3, 3))
    parameters = [policy.log_std, policy.body[0].weight]
    of_std, of_layer = torch.autograd.grad(
        distribution.entropy().sum(), parameters, allow_unused=True, retain_graph=True
    )
    assert of_std is not None
    assert (of_std != 0).all()
    assert of_layer is None
    moved = torch.autograd.grad(distribution.log_prob(torch.ones(3, 2)).sum(), parameters)
    assert all(slope.abs().sum() > 0 for slope in moved)


@pytest.mark.parametrize("bounds", ["clip", pytest.param("squash", marks=pytest.mark.slow)])
def test_an_actor_holds_one_function_of_the_state_for_some_steps(bounds: str) -> None:
    spec = spec_of(OBSERVATIONS, DICT)
    network = NetworkConfig(**{**vars(EXPLORING), "exploration_steps": 3, "action_bounds": bounds})
    policy = policy_for(spec, network)
    runner = PolicyRunner(PolicyExporter(policy, spec).graph_bytes(1))
    assert runner.noise_kind == f"normal:{2 * HIDDEN}:3 gumbel:6"
    noise = NoiseStream(1, first_slot=0, envs=2, life=0, kind=runner.noise_kind, size=runner.noise_size)
    state = np.float32([[0.5, -1, 2], [0.5, -1, 2]])
    taken = []
    for _ in range(12):
        given = noise.next()
        actions, env_actions, log_probs = runner.act({"observation": state}, given)
        taken.append({name: action.copy() for name, action in actions.items()})
        with torch.no_grad():
            distribution = policy.distribution(policy.encode({"observation": torch.from_numpy(state)}))
            rows = policy.layout.rows({name: torch.from_numpy(action) for name, action in actions.items()})
            torch.testing.assert_close(distribution.log_prob(rows), torch.from_numpy(log_probs), atol=1e-5, rtol=1e-5)
        assert isinstance(distribution, Joint)
        assert isinstance(distribution.numbers, Exploring)
        assert isinstance(distribution.numbers.numbers, SquashedGaussian) == (bounds == "squash")
        arm = actions["action.arm"]
        inside = 2 * np.tanh(arm) if bounds == "squash" else arm.clip(-2, 2)
        np.testing.assert_allclose(env_actions["env_action.arm"], inside, rtol=1e-5)
    arms = np.stack([action["action.arm"] for action in taken]).reshape(4, 3, 2, 2)
    np.testing.assert_array_equal(arms, arms[:, :1].repeat(3, 1))
    assert len(np.unique(arms[:, 0])) == 4 * 2 * 2
    tools = np.stack([action["action.tools"] for action in taken]).reshape(4, 3, 2, 2)
    assert (tools != tools[:, :1]).any()


class Still(gym.Env[np.ndarray, np.ndarray]):
    """Episodes of three steps in one state, every other one truncated."""

    observation_space, action_space = OBSERVATIONS, BOX

    def __init__(self) -> None:
        self.steps = self.episodes = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.steps, self.episodes = 0, self.episodes + 1
        return np.float32([0.5, -1, 2]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        is_over, is_even = self.steps == 3, self.episodes % 2 == 0
        return np.float32([0.5, -1, 2]), 0.0, is_over and is_even, is_over and not is_even, {}


def test_an_actor_holds_one_function_of_the_state_for_an_episode() -> None:
    spec = spec_of(OBSERVATIONS, BOX)
    policy = policy_for(spec, NetworkConfig(**{**vars(EXPLORING), "exploration_steps": 0}))
    runner = PolicyRunner(PolicyExporter(policy, spec).graph_bytes(1))
    assert runner.noise_kind == f"normal:{2 * HIDDEN}:episode"
    collector = Collector(SyncLoop([Still(), Still()]), seed=1, first_slot=0, life=0)
    segments = []
    for _ in range(2):  # two policies, within the second episode
        collector.load(runner)
        for _ in range(6 if segments else 5):
            collector.step()
        segments.append(collector.cut())
    arms = np.concatenate([segment.actions["action"] for segment in segments if segment])[:9].reshape(3, 3, 2, 2)
    np.testing.assert_array_equal(arms, arms[:, :1].repeat(3, 1))
    assert len(np.unique(arms[:, 0])) == 3 * 2 * 2
    with torch.no_grad():
        distribution = distribution_at(policy, torch.tensor([[0.5, -1.0, 2.0]]))
        log_probs = distribution.log_prob(torch.from_numpy(arms.reshape(-1, 2)))
    taken = np.concatenate([segment.behaviour_log_probs for segment in segments if segment])[:9]
    np.testing.assert_allclose(log_probs.numpy(), taken.reshape(-1), atol=1e-5)


@pytest.mark.parametrize(
    "network", [EXPLORING, NetworkConfig(policy_hidden=(8,), distribution="beta"), NetworkConfig()]
)
def test_the_page_on_onnx_draws_all_kinds_of_noise(network: NetworkConfig, tmp_path: Path) -> None:
    spec = spec_of(OBSERVATIONS, BOX)
    policy, _ = build_networks(spec, network, 1)
    graph = PolicyExporter(policy, spec).graph_bytes(1)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    zeros = np.zeros((1, policy.outputs), np.float32)
    names = {"np": np, "policy": session, "noise": zeros, "observation": np.ones((1, 3), np.float32)}
    (tmp_path / "cells.py").write_text(blocks("docs/onnx.md")[1])
    noise = runpy.run_path(str(tmp_path / "cells.py"), names)["noise"]
    assert noise.shape == zeros.shape
    assert len(np.unique(noise)) == noise.size
    expected = 0.5772 if network.distribution == "beta" else 0.0  # of the second half: Gumbel or normal
    assert noise[:, noise.shape[1] // 2 :].mean() == pytest.approx(expected, abs=4 / noise.size**0.5)


def test_settings_that_do_not_go_with_it_are_refused() -> None:
    for settings, words in (
        ({"std": "state"}, r"leave out network\.std=state"),
        ({"distribution": "beta"}, r"network\.exploration=state is of Gaussians"),
        ({"head": "my_nets:make_head"}, r"exploration=state is of the built-in head"),
        ({"exploration_steps": -1}, r"network\.exploration_steps"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            NetworkConfig(**{**vars(EXPLORING), "initial_log_std": 0.0, **settings})
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"exploration_steps=8 is of network\.exploration=state"):
        NetworkConfig(exploration_steps=8)
    wide = NetworkConfig(policy_hidden=(40_000,), critic_hidden=(), exploration="state")
    with pytest.raises(UsageError, match=r"takes 80,002 numbers of noise in every step, at most 65,536"):
        build_networks(spec_of(OBSERVATIONS, BOX), wide, 1)
