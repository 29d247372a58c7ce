"""Heads: tanh means and deviations that depend on the state, against torch.distributions and in the exported graph."""

import math

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch
from perceptrons import policy_for
from torch.distributions import Independent, Normal, kl_divergence

from dppo.learner.models.building import perceptron_critic
from dppo.learner.models.distributions import Categorical, Gaussian
from dppo.learner.models.heads import GaussianHead
from dppo.learner.models.layers import Initialisation
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.protocol.specs import Spec, spec_of

SPEC = spec_of(gym.spaces.Box(-np.inf, np.inf, (3,)), gym.spaces.Box(-2, 2, (2,)))
HEADS = {
    "linear free": GaussianHead(),
    "tanh free": GaussianHead(mean="tanh", mean_scale=2.0),
    "linear state": GaussianHead(std="state", std_floor=0.01),
    "tanh state": GaussianHead(mean="tanh", mean_scale=2.0, std="state", std_floor=0.01),
}


def make_policy(
    head: GaussianHead, spec: Spec = SPEC, initialisation: Initialisation = "orthogonal", log_std: float = -0.5
) -> PolicyNetwork:
    return policy_for(
        spec,
        hidden=(200,),
        activation="relu",
        initial_log_std=log_std,
        action_bounds="clip",
        normalise_observations=False,
        generator=torch.Generator().manual_seed(1),
        numbers=head,
        initialisation=initialisation,
    )


def normal_by_hand(policy: PolicyNetwork, features: torch.Tensor) -> Independent:
    """The distribution from the body's outputs, as the settings describe it."""
    outputs, head = policy.body(features), policy.head.of_numbers
    u = outputs[:, :2]
    mean = head.mean_scale * torch.tanh(u) if head.mean == "tanh" else u
    if head.std == "free":
        assert policy.log_std is not None
        std = policy.log_std.exp().expand(len(features), 2)
    else:
        std = torch.log(1 + torch.exp(outputs[:, 2:])) + head.std_floor
    return Independent(Normal(mean, std), 1)


@pytest.mark.parametrize("name", HEADS)
def test_log_probs_entropies_and_kls_agree_with_torch_distributions(name: str) -> None:
    one, other = make_policy(HEADS[name]), make_policy(HEADS[name], log_std=-1.0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    features, actions = torch.randn(5, 3), torch.randn(5, 2)
    ours, theirs = one.distribution(features), normal_by_hand(one, features)
    old, their_old = other.distribution(features), normal_by_hand(other, features)
    assert isinstance(ours, Gaussian)
    assert isinstance(old, Gaussian)
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions))
    torch.testing.assert_close(ours.entropy().expand(5), theirs.entropy())
    torch.testing.assert_close(ours.kl_from(old), kl_divergence(their_old, theirs))
    torch.testing.assert_close(ours.kl_from(Gaussian.of_rows(old.rows())), kl_divergence(their_old, theirs))
    assert old.rows().shape == (5, 4)


def test_a_categorical_is_its_rows() -> None:
    log_probs = torch.randn(5, 4).log_softmax(-1)
    assert torch.equal(Categorical.of_rows(Categorical(log_probs).rows()[2:4]).log_probs, log_probs[2:4])


@pytest.mark.parametrize("name", HEADS)
def test_the_exported_graph_samples_and_scores_as_the_head_says(name: str) -> None:
    policy = make_policy(HEADS[name])
    exporter = PolicyExporter(policy, SPEC)
    exporter.graph_bytes(0)
    with torch.no_grad():
        for parameter in policy.parameters():  # after the export: swapped in
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    session = onnxruntime.InferenceSession(exporter.graph_bytes(1), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for E in (1, 6):
        observation, noise = rng.normal(size=(E, 3)).astype(np.float32), rng.normal(size=(E, 2)).astype(np.float32)
        feed = {"observation": observation, "noise": noise}
        action, env_action, log_prob = session.run(["action", "env_action", "log_prob"], feed)
        expected = normal_by_hand(policy, torch.from_numpy(observation))
        sample = expected.mean + expected.base_dist.stddev * torch.from_numpy(noise)
        np.testing.assert_allclose(action, sample.detach(), atol=1e-5)
        np.testing.assert_allclose(env_action, sample.detach().clamp(-2, 2), atol=1e-5)
        np.testing.assert_allclose(log_prob, expected.log_prob(sample).detach(), atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_the_deviation_starts_where_it_is_told_to(name: str) -> None:
    distribution = make_policy(HEADS[name], log_std=-0.7).distribution(torch.zeros(1, 3))
    assert isinstance(distribution, Gaussian)
    torch.testing.assert_close(distribution.log_std.reshape(-1), torch.full((2,), -0.7))


def test_a_state_dependent_deviation_depends_on_the_state_and_stays_above_its_floor() -> None:
    policy = make_policy(GaussianHead(std="state", std_floor=0.05), initialisation="glorot")
    distribution = policy.distribution(1000.0 * torch.randn(500, 3))
    assert isinstance(distribution, Gaussian)
    std = distribution.log_std.exp()
    assert std.min().item() == pytest.approx(0.05)
    assert std.max().item() > 1.0
    assert distribution.log_prob(distribution.mean).isfinite().all()
    assert policy.log_std is None
    assert "log_std" not in policy.state_dict()


def test_a_tanh_mean_ends_at_its_scale() -> None:
    policy = make_policy(GaussianHead(mean="tanh", mean_scale=2.0), initialisation="glorot")
    distribution = policy.distribution(1000.0 * torch.randn(500, 3))
    assert isinstance(distribution, Gaussian)
    assert distribution.mean.abs().max().item() == pytest.approx(2.0)


def test_a_deviation_that_starts_below_its_floor_is_refused() -> None:
    with pytest.raises(ValueError, match="std_floor"):
        GaussianHead(std="state", std_floor=0.5).starting_bias(math.log(0.4))


def test_glorot_weights_are_uniform_in_their_range_and_biases_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    critic = perceptron_critic(3, hidden=(200,), activation="relu", generator=generator, initialisation="glorot")
    for layer, fans in ((critic.body[0], 203), (critic.body[2], 201)):
        limit = math.sqrt(6 / fans)
        assert limit * 0.9 < layer.weight.abs().max().item() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.15)
        assert not layer.bias.any()
