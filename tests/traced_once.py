"""Policies of the same spec and settings are traced once in a session of tests: what differs are weights, swapped in.

Tracing takes 0.1 to 0.3 s, and thousands of tests make a trainer. Networks of a user's code are traced each time, and
so is what makes its own exporter: tests of the export itself.
"""

from typing import Any

import pytest

from dppo.learner.models.building import build_networks
from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.learner.network_config import NetworkConfig
from dppo.learner.ppo import trainer
from dppo.protocol.specs import Spec, spec_to_json

_MADE_OF = "made_of_in_tests"
_traced: dict[tuple[str, str], dict[str, Any]] = {}  # what an exporter has but its policy, by spec and settings


def _built(spec: Spec, network: NetworkConfig, seed: int) -> tuple[PolicyNetwork, CriticNetwork]:
    policy, critic = build_networks(spec, network, seed)
    policy.__dict__[_MADE_OF] = None if network.own_code else (spec_to_json(spec), repr(network))
    return policy, critic


class _Exporter(PolicyExporter):
    def __init__(self, policy: PolicyNetwork, spec: Spec) -> None:
        made_of = policy.__dict__[_MADE_OF]
        if made_of in _traced:
            vars(self).update(_traced[made_of], _policy=policy)
            return
        super().__init__(policy, spec)
        if made_of is not None:
            _traced[made_of] = {name: value for name, value in vars(self).items() if name != "_policy"}


def trace_once(patch: pytest.MonkeyPatch) -> None:
    """Have trainers of this process share what was traced."""
    patch.setattr(trainer, "build_networks", _built)
    patch.setattr(trainer, "PolicyExporter", _Exporter)
