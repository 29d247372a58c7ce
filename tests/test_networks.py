import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from perceptrons import policy_for
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal, kl_divergence

from dppo.learner.models.activations import Tanh
from dppo.learner.models.building import perceptron_critic
from dppo.learner.models.distributions import Categorical, Gaussian
from dppo.learner.models.networks import ActionBounds, PolicyNetwork
from dppo.protocol.specs import spec_of

BOX3 = gym.spaces.Box(-np.inf, np.inf, (3,))


def make_policy(
    observation: gym.Space, action: gym.Space, *, bounds: ActionBounds = "clip", normalise: bool = True
) -> PolicyNetwork:
    return policy_for(
        spec_of(observation, action),
        hidden=(16, 16),
        activation="tanh",
        initial_log_std=-0.5,
        action_bounds=bounds,
        normalise_observations=normalise,
        generator=torch.Generator().manual_seed(1),
    )


def gumbel(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).gumbel(size=shape).astype(np.float32))


def test_the_gaussian_agrees_with_torch_distributions() -> None:
    torch.manual_seed(0)
    mean, log_std, action = torch.randn(5, 3), torch.randn(3), torch.randn(5, 3)
    old_mean, old_log_std = torch.randn(5, 3), torch.randn(3)
    ours, theirs = Gaussian(mean, log_std), Normal(mean, log_std.exp())
    old, their_old = Gaussian(old_mean, old_log_std), Normal(old_mean, old_log_std.exp())
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action).sum(-1))
    torch.testing.assert_close(ours.entropy().expand(5), theirs.entropy().sum(-1))
    torch.testing.assert_close(ours.kl_from(old), kl_divergence(their_old, theirs).sum(-1))
    torch.testing.assert_close(ours.kl_from(ours), torch.zeros(5), atol=1e-6, rtol=0)


def test_the_categorical_agrees_with_torch_distributions() -> None:
    torch.manual_seed(0)
    logits, old_logits, action = torch.randn(5, 4), torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    ours, theirs = Categorical(logits.log_softmax(-1)), TorchCategorical(logits=logits)
    old, their_old = Categorical(old_logits.log_softmax(-1)), TorchCategorical(logits=old_logits)
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.kl_from(old), kl_divergence(their_old, theirs))


def test_an_impossible_choice_adds_nothing_to_the_entropy() -> None:
    log_probs = torch.tensor([[0.5, 0.5, 0.0]]).log()
    assert Categorical(log_probs).entropy().item() == pytest.approx(math.log(2))


def test_gumbel_noise_samples_the_categorical() -> None:
    probabilities = torch.tensor([0.1, 0.2, 0.7])
    sample = Categorical(probabilities.log()).sample(gumbel((50_000, 3), seed=0))
    np.testing.assert_allclose(np.bincount(sample.numpy()) / 50_000, probabilities, atol=0.01)


def test_normal_noise_samples_the_gaussian() -> None:
    noise = torch.randn(50_000, 1, generator=torch.Generator().manual_seed(0))
    sample = Gaussian(torch.tensor([2.0]), torch.tensor([math.log(0.5)])).sample(noise)
    assert sample.mean().item() == pytest.approx(2.0, abs=0.02)
    assert sample.std().item() == pytest.approx(0.5, abs=0.02)


def test_zero_noise_is_the_deterministic_policy() -> None:
    policy = make_policy(BOX3, gym.spaces.Box(-5, 5, (2,)))
    observation = torch.randn(4, 3)
    action, _, _ = policy(observation, torch.zeros(4, 2))
    torch.testing.assert_close(action, policy.body(observation))
    policy = make_policy(BOX3, gym.spaces.Discrete(5))
    action, _, _ = policy(observation, torch.zeros(4, 5))
    torch.testing.assert_close(action, policy.body(observation).argmax(-1))


@pytest.mark.parametrize(
    "action_space", [gym.spaces.Box(-1, 1, ()), gym.spaces.Box(-1, 1, (2, 3)), gym.spaces.Discrete(3, start=-1)]
)
def test_the_training_path_finds_the_log_probs_that_the_acting_path_gave(action_space: gym.Space) -> None:
    policy = make_policy(gym.spaces.Box(0, 255, (4, 2), np.int16), action_space)
    observation = torch.randint(0, 255, (6, 4, 2), dtype=torch.int16)
    action, env_action, behaviour = policy(observation, gumbel((6, policy.outputs), seed=1))
    log_prob = policy.distribution(policy.encoder(observation)).log_prob(policy.layout.rows({"action": action}))
    assert action.shape == env_action.shape == (6, *action_space.shape)
    assert behaviour.shape == (6,)
    torch.testing.assert_close(log_prob, behaviour)


def test_actions_are_clipped_for_the_environment_but_kept_as_sampled() -> None:
    policy = make_policy(BOX3, gym.spaces.Box(np.array([-1, -np.inf], np.float32), np.array([1, np.inf], np.float32)))
    action, env_action, _ = policy(torch.zeros(1, 3), torch.full((1, 2), 100.0))
    assert action[0, 0].item() > 1
    assert env_action[0, 0].item() == 1
    assert env_action[0, 1].item() == action[0, 1].item()


def test_rescaling_maps_minus_one_to_one_onto_the_bounds_and_leaves_unbounded_sides_alone() -> None:
    space = gym.spaces.Box(np.array([0, -np.inf, -np.inf], np.float32), np.array([10, np.inf, 1], np.float32))
    policy = make_policy(BOX3, space, bounds="rescale")
    action = torch.tensor([[-1, -1, -1], [0, 0, 0], [1, 1, 1], [3, 3, 3]], dtype=torch.float32)
    expected = torch.tensor([[0, -1, -1], [5, 0, 0], [10, 1, 1], [10, 3, 1]], dtype=torch.float32)
    torch.testing.assert_close(policy._to_environment(action), expected)


def test_a_discrete_start_is_added_for_the_environment_only() -> None:
    policy = make_policy(BOX3, gym.spaces.Discrete(3, start=7))
    action, env_action, _ = policy(torch.randn(20, 3), gumbel((20, 3), seed=2))
    assert 0 <= action.min() <= action.max() <= 2
    torch.testing.assert_close(env_action, action + 7)


def test_a_discrete_observation_becomes_one_hot_counted_from_its_start() -> None:
    policy = make_policy(gym.spaces.Discrete(3, start=5), gym.spaces.Discrete(2))
    torch.testing.assert_close(policy.encoder(torch.tensor([5, 7])), torch.tensor([[1.0, 0, 0], [0, 0, 1]]))
    assert "encoder.mean" not in policy.state_dict()


def test_observations_are_normalised_and_clipped() -> None:
    policy = make_policy(BOX3, gym.spaces.Discrete(2))
    policy.encoder.mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    policy.encoder.scale.copy_(torch.tensor([1.0, 0.5, 100.0]))
    torch.testing.assert_close(policy.encoder(torch.tensor([[0.0, 4.0, 4.0]])), torch.tensor([[-1.0, 1.0, 10.0]]))
    plain = make_policy(BOX3, gym.spaces.Discrete(2), normalise=False)
    torch.testing.assert_close(plain.encoder(torch.tensor([[0.0, 4.0, 400.0]])), torch.tensor([[0.0, 4.0, 400.0]]))


def test_weights_are_orthogonal_with_small_policy_outputs_and_zero_biases() -> None:
    policy = make_policy(BOX3, gym.spaces.Box(-1, 1, (2,)))
    critic = perceptron_critic(3, hidden=(16,), activation="relu", generator=torch.Generator().manual_seed(2))
    hidden, head = policy.body[2].weight, policy.body[-1].weight
    torch.testing.assert_close(hidden @ hidden.T, 2 * torch.eye(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(head @ head.T, 1e-4 * torch.eye(2), atol=1e-7, rtol=0)
    assert critic.body[-1].weight.norm().item() == pytest.approx(1)
    assert all(not layer.bias.any() for layer in [policy.body[0], policy.body[-1], critic.body[0]])
    torch.testing.assert_close(policy.log_std, torch.full((2,), -0.5))


def test_the_same_generator_seed_gives_the_same_weights() -> None:
    one, other = make_policy(BOX3, gym.spaces.Discrete(2)), make_policy(BOX3, gym.spaces.Discrete(2))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_the_fast_tanh_equals_torchs_and_leaves_its_input_alone() -> None:
    inputs = torch.linspace(-12, 12, 1001).reshape(7, 143)
    kept = inputs.clone()
    with torch.no_grad():
        fast = Tanh()(inputs)
    torch.testing.assert_close(fast, kept.tanh(), atol=2e-7, rtol=0)
    torch.testing.assert_close(Tanh()(inputs), kept.tanh(), atol=0, rtol=0)
    assert torch.equal(inputs, kept)
