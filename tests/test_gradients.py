"""The hand-written gradients against automatic differentiation, and that against PyTorch's own pieces."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from learner.adam import EPSILON, FlatAdam
from learner.gradients import AutogradGradients, Outputs, Rows
from learner.losses import surrogate_limits
from learner.networks import Activation, CriticNetwork, PolicyNetwork
from learner.written_gradients import WrittenGradients
from protocol.specs import spec_of

ACTIONS = {"box": gym.spaces.Box(-1, 1, (2,)), "discrete": gym.spaces.Discrete(4)}


def networks(action: gym.Space, hidden: tuple[int, ...], activation: Activation) -> tuple[PolicyNetwork, CriticNetwork]:
    generator = torch.Generator().manual_seed(0)
    policy = PolicyNetwork(
        spec_of(gym.spaces.Box(-np.inf, np.inf, (3,)), action),
        hidden=hidden,
        activation=activation,
        initial_log_std=-0.3,
        action_bounds="clip",
        normalise_observations=False,
        generator=generator,
    )
    with torch.no_grad():  # the policy's small last layer would hide what is wrong in the layers below
        for parameter in policy.body.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return policy, CriticNetwork(3, hidden=hidden, activation=activation, generator=generator)


def random_rows(policy: PolicyNetwork, n: int) -> Rows:
    generator = torch.Generator().manual_seed(1)
    features, advantages = torch.randn(n, 3, generator=generator), torch.randn(n, generator=generator)
    with torch.no_grad():
        distribution = policy.distribution(features)
        actions = distribution.sample(torch.randn(n, policy.outputs, generator=generator))
        old = distribution.log_prob(actions) + 0.3 * torch.randn(n, generator=generator)  # so that many are clipped
    limits = surrogate_limits(advantages, 0.2)
    return Rows(features, actions, old, advantages, limits, torch.randn(n, generator=generator))


def outputs_for(n: int) -> Outputs:
    return Outputs(torch.zeros(n), torch.zeros(n), torch.zeros(n))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("activation", ["tanh", "relu", "elu"])
@pytest.mark.parametrize("entropy_coefficient", [0.0, 0.1])
def test_the_written_gradients_equal_the_automatic_ones(
    action: str, activation: Activation, entropy_coefficient: float
) -> None:
    policy, critic = networks(ACTIONS[action], (16, 8), activation)
    adam = FlatAdam([policy, critic])
    coefficients = {"value_coefficient": 0.7, "entropy_coefficient": entropy_coefficient}
    automatic = AutogradGradients(policy, critic, adam, **coefficients)
    written = WrittenGradients(policy, critic, **coefficients)
    for n in (50, 1, 49):
        rows, expected_outputs, outputs = random_rows(policy, n), outputs_for(n), outputs_for(n)
        automatic(rows, expected_outputs)
        expected = adam.gradient.clone()
        adam.gradient.fill_(torch.nan)
        written(rows, outputs)
        torch.testing.assert_close(adam.gradient, expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(outputs, expected_outputs)


def test_a_network_without_hidden_layers_works_too() -> None:
    policy, critic = networks(ACTIONS["box"], (), "tanh")
    adam = FlatAdam([policy, critic])
    rows = random_rows(policy, 20)
    AutogradGradients(policy, critic, adam, value_coefficient=0.5, entropy_coefficient=0.0)(rows, outputs_for(20))
    expected = adam.gradient.clone()
    WrittenGradients(policy, critic, value_coefficient=0.5, entropy_coefficient=0.0)(rows, outputs_for(20))
    torch.testing.assert_close(adam.gradient, expected, atol=1e-6, rtol=1e-5)


def test_the_flat_steps_equal_torchs_adam_with_its_gradient_clipping() -> None:
    def trained(step: str) -> list[Tensor]:
        policy, critic = networks(ACTIONS["box"], (8,), "tanh")
        parameters = [*policy.parameters(), *critic.parameters()]
        target, norm = torch.tensor([[1.0, -2.0]]), torch.zeros(())
        flat = FlatAdam([policy, critic]) if step == "flat" else None
        optimizer = torch.optim.Adam(parameters, lr=0.01, eps=EPSILON)
        for scale in (0.01, 1.0, 100.0):
            optimizer.zero_grad(set_to_none=False)
            loss = (policy.body(torch.ones(1, 3)) - target).square().sum() + critic(torch.ones(1, 3)).sum()
            (scale * (loss + policy.log_std.sum())).backward()
            if flat:
                flat.clip(0.5, norm)
                flat.step(0.01)
            else:
                torch.nn.utils.clip_grad_norm_(parameters, 0.5)
                optimizer.step()
        return [parameter.detach() for parameter in parameters]

    for ours, theirs in zip(trained("flat"), trained("torch"), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_written_gradients_need_a_place_to_write_to() -> None:
    policy, critic = networks(ACTIONS["box"], (8,), "tanh")
    with pytest.raises(ValueError, match="FlatAdam"):
        WrittenGradients(policy, critic, value_coefficient=0.5, entropy_coefficient=0.0)
