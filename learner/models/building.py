"""Policy and critic of a run: the one place that makes their parts. Knows settings of networks; knows no training."""

from collections.abc import Sequence

import torch
from torch import nn

from dppo.learner.config import NetworkConfig
from dppo.learner.models.action_layout import ActionLayout
from dppo.learner.models.encoders import make_encoder
from dppo.learner.models.heads import ActionHead, GaussianHead
from dppo.learner.models.networks import (
    ActionBounds,
    Activation,
    CriticNetwork,
    Initialisation,
    PolicyNetwork,
    mlp,
)
from dppo.protocol.specs import Spec


def build_networks(spec: Spec, network: NetworkConfig, seed: int) -> tuple[PolicyNetwork, CriticNetwork]:
    """Fresh networks, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    encoder = make_encoder(spec.observation, normalise=network.normalise_observations)
    policy = perceptron_policy(
        spec,
        encoder,
        encoder.features,
        hidden=network.policy_hidden,
        activation=network.activation,
        initial_log_std=network.initial_log_std,
        action_bounds=network.action_bounds,
        generator=generator,
        gaussian=GaussianHead(network.mean, network.mean_scale, network.std, network.std_floor),
        initialisation=network.initialisation,
    )
    critic = perceptron_critic(
        encoder.features,
        hidden=network.critic_hidden,
        activation=network.activation,
        generator=generator,
        initialisation=network.initialisation,
    )
    return policy, critic


def perceptron_policy(
    spec: Spec,
    encoder: nn.Module,
    features: int,
    *,
    hidden: Sequence[int],
    activation: Activation,
    initial_log_std: float,
    action_bounds: ActionBounds,
    generator: torch.Generator,
    gaussian: GaussianHead = GaussianHead(),
    initialisation: Initialisation = "orthogonal",
) -> PolicyNetwork:
    """A perceptron on the encoder's features [N, features], with the built-in head."""
    head = ActionHead(ActionLayout(spec.action), gaussian, float(initial_log_std))
    widths = (features, *hidden, head.inputs)
    body = mlp(widths, activation, initialisation=initialisation, head_gain=0.01, generator=generator)
    if head.layout.boxes and gaussian.std == "state":
        last = body[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias[head.layout.numbers : head.numbers], gaussian.starting_bias(initial_log_std))
    return PolicyNetwork(spec, encoder=encoder, features=features, body=body, head=head, action_bounds=action_bounds)


def perceptron_critic(
    features: int,
    *,
    hidden: Sequence[int],
    activation: Activation,
    generator: torch.Generator,
    initialisation: Initialisation = "orthogonal",
) -> CriticNetwork:
    """A perceptron on features [N, features]."""
    widths = (features, *hidden, 1)
    body = mlp(widths, activation, initialisation=initialisation, head_gain=1.0, generator=generator)
    return CriticNetwork(body)
