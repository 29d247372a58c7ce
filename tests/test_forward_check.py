"""Networks of a user's own that run and export, and yet cannot be trained: refused with what to look for."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor, nn

from dppo.learner.config import NetworkConfig
from dppo.learner.models.building import build_networks
from dppo.learner.models.graph_check import check_export
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.networks import LeafEncoder
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import spec_of

SPEC = spec_of(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(3))


class Layer(nn.Module):
    """A layer of the numbers, and what a mistake makes of it."""

    def __init__(self, mistake: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.numbers, self.layer, self.mistake = (
            LeafEncoder(SPEC.observation[0], normalise=True),
            nn.Linear(3, 4),
            mistake,
        )

    def forward(self, observation: Tensor) -> Tensor:
        numbers: Tensor = self.mistake(self.layer(self.numbers(observation)))
        return numbers


class Listed(nn.Module):
    """Layers in a plain list, which are no part of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(3, 4)]

    def forward(self, observation: Tensor) -> Tensor:
        features: Tensor = self.layers[0](observation)
        return features


class Keeping(nn.Module):
    """A memory that is no state: what it saw last is kept in the module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 4), torch.zeros(4)

    def forward(self, observation: Tensor) -> Tensor:
        features: Tensor = torch.tanh(self.layer(observation) + self.last)
        self.last = features.detach().mean(0)
        return features


def squeezed(features: Tensor) -> Tensor:
    return features.squeeze() + torch.zeros(features.squeeze().shape[1])


WRONG: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "mean over rows": (lambda: Layer(lambda x: x - x.mean(0)), "another log-prob of one observation alone than in a"),
    "softmax over rows": (lambda: Layer(lambda x: x.softmax(0)), "no row may depend on others"),
    "squeezed": (lambda: Layer(squeezed), r"cannot take one observation alone.*squeeze\(\)"),
    "not a number": (lambda: Layer(lambda x: (x - x) / (x - x)), "not a number .NaN.*division by 0"),
    "infinite": (lambda: Layer(lambda x: x / (x - x).abs()), r"not finite|not a number"),
    "detached": (
        lambda: Layer(lambda x: x.detach()),
        r"no gradient reaches encoder\.layer\.weight, encoder\.layer\.bias",
    ),
    "keeping": (Keeping, "another log-prob of the same observations when it is called again.*keeps in itself"),
    "listed": (Listed, r"cannot export.*plain list.*nn\.ModuleList"),
}


@pytest.fixture(autouse=True)
def nets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Hand a test's encoder over as if a setting had named its function."""
    made: dict[str, Any] = {}
    monkeypatch.setattr("dppo.learner.models.own_networks.find_function", lambda setting, name: made["function"])
    return made


def check(nets: dict[str, Any], make: Callable[[], nn.Module]) -> None:
    nets["function"] = lambda leaves: make()
    policy, _ = build_networks(SPEC, NetworkConfig(encoder="nets:make", policy_hidden=(4,)), 1)
    check_export(PolicyExporter(policy, SPEC), policy, SPEC)


@pytest.mark.parametrize("mistake", WRONG)
def test_a_network_that_cannot_be_trained_is_refused(mistake: str, nets: dict[str, Any]) -> None:
    make, line = WRONG[mistake]
    with pytest.raises(UsageError, match=line):
        check(nets, make)


def test_what_is_frozen_on_purpose_and_what_is_right_pass(nets: dict[str, Any]) -> None:
    check(nets, lambda: Layer(torch.tanh))
    check(nets, lambda: Layer(lambda features: features.detach()).requires_grad_(False))
