"""The analytic gradients are taken where they apply, and equal autograd's for every pair of spaces."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from perceptrons import policy_for
from torch import Tensor, nn

from dppo.learner.models.building import perceptron_critic
from dppo.learner.models.heads import GaussianHead
from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.ppo.adam import FlatAdam
from dppo.learner.ppo.gradients import Gradients, Outputs
from dppo.learner.ppo.gradients_analytic import AnalyticGradients, applies_to
from dppo.learner.ppo.gradients_autograd import AutogradGradients
from dppo.learner.ppo.losses import surrogate_limits
from dppo.learner.ppo.optimizer import ActorCriticOptimizer
from dppo.learner.ppo.rows import Rows
from dppo.protocol.specs import Spec, spec_of

OBSERVATIONS = {
    "box": gym.spaces.Box(-np.inf, np.inf, (3,)),
    "matrix": gym.spaces.Box(-np.inf, np.inf, (2, 2)),
    "bytes": gym.spaces.Box(0, 255, (5,), np.uint8),
    "discrete": gym.spaces.Discrete(4, start=2),
}
ACTIONS = {
    "box": gym.spaces.Box(-1, 1, (2,)),
    "matrix": gym.spaces.Box(-1, 1, (2, 3)),
    "discrete": gym.spaces.Discrete(3, start=5),
    "boxes": gym.spaces.Tuple([gym.spaces.Box(-1, 1, (2,)), gym.spaces.Box(0, 3, ())]),
}
N = 40
COEFFICIENTS = {"value_coefficient": 0.5, "entropy_coefficient": 0.01}
STEPS = {"apart": False, "epsilon": 1e-5, "max_grad_norm": 0.5, **COEFFICIENTS}


def networks(spec: Spec, head: GaussianHead = GaussianHead()) -> tuple[PolicyNetwork, CriticNetwork]:
    generator = torch.Generator().manual_seed(0)
    policy = policy_for(
        spec,
        hidden=(8,),
        activation="tanh",
        initial_log_std=-0.5,
        action_bounds="clip",
        normalise_observations=True,
        generator=generator,
        numbers=head,
    )
    return policy, perceptron_critic(policy.encoder.features, hidden=(8,), activation="tanh", generator=generator)


def rows_for(policy: PolicyNetwork, observation: gym.Space) -> Rows:
    observation.seed(1)
    leaves = {"observation": torch.from_numpy(np.stack([observation.sample() for _ in range(N)]))}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        distribution = policy.distribution(policy.encode(leaves))
        actions = distribution.sample(torch.randn(N, policy.outputs, generator=generator))
        old = distribution.log_prob(actions) + 0.3 * torch.randn(N, generator=generator)
    advantages, targets = torch.randn(2, N, generator=generator)
    limits = surrogate_limits(advantages, 0.2)
    return Rows(leaves, torch.arange(N), None, actions, old, advantages, limits, targets, torch.empty(N, 0))


@pytest.mark.parametrize("std", ["free", "state"])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_both_gradients_agree_for_every_pair_of_spaces(observation: str, action: str, std: str) -> None:
    head = GaussianHead(std="state") if std == "state" else GaussianHead()
    policy, critic = networks(spec_of(OBSERVATIONS[observation], ACTIONS[action]), head)
    assert applies_to(policy, critic)
    adam = FlatAdam([policy, critic], epsilon=1e-5)
    rows = rows_for(policy, OBSERVATIONS[observation])

    def computed(gradients: Gradients) -> tuple[Tensor, Outputs]:
        adam.gradient.fill_(torch.nan)
        outputs = Outputs(*torch.zeros(4, N))
        gradients.critic(rows, outputs)
        gradients.policy(rows, outputs, None)
        return adam.gradient.clone(), outputs

    expected = computed(AutogradGradients(policy, critic, **COEFFICIENTS))
    torch.testing.assert_close(computed(AnalyticGradients(policy, critic, **COEFFICIENTS)), expected, atol=1e-5, rtol=0)
    assert expected[0].abs().max() > 1e-3


def gradients_taken(policy: PolicyNetwork, critic: CriticNetwork) -> type[Gradients]:
    return type(ActorCriticOptimizer(policy, critic, way="analytic", **STEPS)._gradients)


def test_autograd_is_taken_where_a_network_is_no_perceptron() -> None:
    spec = spec_of(OBSERVATIONS["box"], ACTIONS["box"])
    assert gradients_taken(*networks(spec)) is AnalyticGradients
    policy, critic = networks(spec)
    policy.body.insert(1, nn.LayerNorm(8))
    assert gradients_taken(policy, critic) is AutogradGradients
    policy, critic = networks(spec)
    critic.body[1] = nn.Sigmoid()
    assert gradients_taken(policy, critic) is AutogradGradients


def test_autograd_is_taken_where_an_encoder_is_trained_and_reaches_its_parameters() -> None:
    policy, critic = networks(spec_of(OBSERVATIONS["box"], ACTIONS["box"]))
    policy.encoder.register_parameter("gain", nn.Parameter(torch.ones(3)))
    policy.encoder.register_forward_hook(lambda encoder, _, features: features * encoder.gain)
    assert not policy.encodes_once
    steps = ActorCriticOptimizer(policy, critic, way="analytic", **STEPS)
    steps.learning_rate = 0.1
    rows, norm = rows_for(policy, OBSERVATIONS["box"]), torch.zeros(())
    with torch.no_grad():
        steps.both(rows, Outputs(*torch.zeros(4, N)), norm)
    assert (policy.encoder.gain != 1.0).all()
