"""Policies without settings: perceptrons on the encoder of a spec."""

from typing import Any

from dppo.learner.models.building import perceptron_policy
from dppo.learner.models.encoders import make_encoder
from dppo.learner.models.networks import PolicyNetwork
from dppo.protocol.specs import Spec


def policy_for(spec: Spec, *, normalise_observations: bool, **settings: Any) -> PolicyNetwork:
    encoder = make_encoder(spec.observation, normalise=normalise_observations)
    return perceptron_policy(spec, encoder, encoder.features, **settings)
