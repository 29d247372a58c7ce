"""Policy and critic of a run, from its settings. Knows the settings of networks; knows no training."""

import torch

from dppo.learner.config import NetworkConfig
from dppo.learner.models.heads import GaussianHead
from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.protocol.specs import Spec


def build_networks(spec: Spec, network: NetworkConfig, seed: int) -> tuple[PolicyNetwork, CriticNetwork]:
    """Fresh networks, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    policy = PolicyNetwork(
        spec,
        hidden=network.policy_hidden,
        activation=network.activation,
        initial_log_std=network.initial_log_std,
        action_bounds=network.action_bounds,
        normalise_observations=network.normalise_observations,
        generator=generator,
        head=GaussianHead(network.mean, network.mean_scale, network.std, network.std_floor),
        initialisation=network.initialisation,
    )
    critic = CriticNetwork(
        policy.encoder.features,
        hidden=network.critic_hidden,
        activation=network.activation,
        generator=generator,
        initialisation=network.initialisation,
    )
    return policy, critic
