"""Policies without settings: perceptrons on the encoder of a spec."""

from typing import Any

import torch

from dppo.learner.config import NetworkConfig
from dppo.learner.models.building import build_encoder, perceptron_policy
from dppo.learner.models.networks import PolicyNetwork
from dppo.protocol.specs import Spec


def policy_for(spec: Spec, *, normalise_observations: bool, **settings: Any) -> PolicyNetwork:
    network = NetworkConfig(normalise_observations=normalise_observations)
    encoder, features = build_encoder(spec, network, torch.Generator(), 0)
    return perceptron_policy(spec, encoder, features, **settings)
