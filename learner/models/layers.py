"""Layers with their first weights. Knows PyTorch; knows no policy."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, TypeVar

import torch
from torch import nn

from dppo.learner.models.activations import Tanh

Activation = Literal["tanh", "relu", "elu"]
Initialisation = Literal["orthogonal", "glorot"]
WithWeights = TypeVar("WithWeights", nn.Linear, nn.Conv2d)

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {"tanh": Tanh, "relu": nn.ReLU, "elu": nn.ELU}


def initialised(
    layer: WithWeights, initialisation: Initialisation, gain: float, generator: torch.Generator
) -> WithWeights:
    """Return the layer with fresh weights, and a bias of 0; gain: of orthogonal weights."""
    if initialisation == "glorot":
        nn.init.xavier_uniform_(layer.weight, generator=generator)
    else:
        nn.init.orthogonal_(layer.weight, gain, generator=generator)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def mlp(
    widths: Sequence[int],
    activation: Activation,
    *,
    initialisation: Initialisation,
    head_gain: float,
    generator: torch.Generator,
    layer_norm: bool = False,
) -> nn.Sequential:
    """Linear layers with activations between them (behind a LayerNorm each, with layer_norm), biases 0.

    Orthogonal weights have gain sqrt 2, the last layer head_gain: those of Andrychowicz et al. 2021 (arXiv 2006.05990,
    section 3.2) and of the original PPO code. Glorot: uniform in +-sqrt(6 / (inputs + outputs)).
    """
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        last = index == len(widths) - 2
        linear = nn.Linear(inputs, outputs)  # not skip_init: that imports sympy, which takes 0.3 s
        layers.append(initialised(linear, initialisation, head_gain if last else math.sqrt(2), generator))
        if not last:
            layers += [nn.LayerNorm(outputs)] if layer_norm else []
            layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers)
