"""Parts of networks as users write them, good and bad ones."""

import sys
from typing import Any

import torch
from torch import nn

from dppo.networks import (
    ActionHead,
    ActionLayout,
    Categorical,
    Gaussian,
    GaussianHead,
    Leaf,
    LeafEncoder,
    PolicyNetwork,
    Spec,
)

FEW = 3


class Squares(nn.Module):
    """The numbers, normalised, and a layer of their squares."""

    def __init__(self, leaf: Leaf) -> None:
        super().__init__()
        self.numbers = LeafEncoder(leaf, normalise=True)
        self.layer = nn.Linear(leaf.features, 5)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        numbers = self.numbers(observation)
        return torch.cat([numbers, self.layer(numbers.square())], 1)


def make_encoder(leaves: tuple[Leaf, ...]) -> nn.Module:
    return Squares(leaves[0])


class Tied(nn.Module):
    """A head without parameters of its own but one: a Gaussian whose mean is a part of the outputs."""

    def __init__(self, layout: ActionLayout) -> None:
        super().__init__()
        self.actions = layout.numbers
        self.log_std = nn.Parameter(torch.zeros(layout.numbers))

    def forward(self, outputs: torch.Tensor) -> Gaussian:
        return Gaussian(outputs[:, : self.actions].tanh(), self.log_std)


class Logits(nn.Module):
    """A categorical head with a layer of its own."""

    def __init__(self, inputs: int, choices: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, choices)

    def forward(self, outputs: torch.Tensor) -> Categorical:
        return Categorical(self.layer(outputs).log_softmax(-1))


def make_head(layout: ActionLayout, inputs: int) -> nn.Module:
    return Tied(layout) if layout.boxes else Logits(inputs, layout.choices[0])


def make_policy(spec: Spec) -> PolicyNetwork:
    encoder, head = Squares(spec.observation[0]), ActionHead(ActionLayout(spec.action), GaussianHead(), -0.5)
    body = nn.Sequential(nn.Linear(8, 6), nn.SiLU(), nn.Linear(6, head.inputs))
    return PolicyNetwork(spec, encoder=encoder, features=8, body=body, head=head, action_bounds="clip")


def frozen(leaves: tuple[Leaf, ...]) -> nn.Module:
    encoder = Squares(leaves[0])
    encoder.layer.requires_grad_(False)
    return encoder


def tied(leaves: tuple[Leaf, ...]) -> nn.Module:
    first, second, norm = nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3)
    second.weight = first.weight
    return nn.Sequential(LeafEncoder(leaves[0], normalise=True), first, nn.ReLU(), second, norm, nn.Dropout(0.5))


def raising(*arguments: Any) -> nn.Module:
    1 / 0  # noqa: B018
    return nn.Identity()


def leaving(*arguments: Any) -> nn.Module:
    sys.exit(0)


def numbers(*arguments: Any) -> int:
    return 3


def halves(*arguments: Any) -> nn.Module:
    return nn.Linear(3, 2).half()


def images(*arguments: Any) -> nn.Module:
    return nn.Conv2d(3, 2, 3)


def unflattened(*arguments: Any) -> nn.Module:
    return nn.Unflatten(1, (3, 1))


class Wide(nn.Module):
    """A Gaussian of as many dimensions as there are inputs."""

    def forward(self, outputs: torch.Tensor) -> Gaussian:
        return Gaussian(outputs, torch.zeros(outputs.shape[1]))


def wide(*arguments: Any) -> nn.Module:
    return Wide()


def plain(*arguments: Any) -> nn.Module:
    return nn.Identity()
