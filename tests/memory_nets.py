"""Memories that tests name by network.memory: a function each, good and bad ones."""

from typing import Any

import torch
from torch import Tensor, nn


class Leaky(nn.Module):
    """A mean that forgets, and the newest features beside it."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(features, size)
        self.share = nn.Parameter(torch.zeros(size))

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        share = self.share.sigmoid()
        state = share * state + (1 - share) * self.layer(features)
        return torch.cat([state, features], 1), state


class Detached(Leaky):
    """Leaky, whose state no gradient reaches."""

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs, state = super().forward(features, state)
        return outputs.detach(), state


class Only(nn.Module):
    """Whatever a function makes of features and state."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, features: Tensor, state: Tensor) -> Any:
        return self.function(features, state)


def make_memory(features: int, size: int) -> nn.Module:
    return Leaky(features, size)


def make_no_pair(features: int, size: int) -> nn.Module:
    return Only(lambda features, state: features)


def make_narrow(features: int, size: int) -> nn.Module:
    return Only(lambda features, state: (features, state[:, :1]))


def make_flat(features: int, size: int) -> nn.Module:
    return Only(lambda features, state: (features.sum(1), state))


def make_double(features: int, size: int) -> nn.Module:
    return Only(lambda features, state: (features.double(), state))


def make_broken(features: int, size: int) -> nn.Module:
    raise RuntimeError("no such weights")


def make_detached(features: int, size: int) -> nn.Module:
    return Detached(features, size)


def make_forgetful(features: int, size: int) -> nn.Module:
    return Only(lambda features, state: (features, 0.9 * state + features.sum(1, keepdim=True)))


def make_idle(features: int, size: int) -> nn.Module:
    return Only(lambda features, state: (torch.cat([features, state], 1), state))


def make_blank(features: int, size: int) -> nn.Module:
    return Only(lambda features, state: (torch.cat([features, state], 1), torch.zeros_like(state)))


class Gated(Leaky):
    """Leaky, of which the policy sees nothing at first."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__(features, size)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = state + self.gate * (super().forward(features, state)[1] - state)
        return torch.cat([self.gate * state, features], 1), state


def make_gated(features: int, size: int) -> nn.Module:
    return Gated(features, size)


def make_previous(features: int, size: int) -> nn.Module:
    return Only(lambda features, state: (torch.cat([features, state], 1), features[:, :size]))


def make_clock(features: int, size: int) -> nn.Module:
    return Only(lambda features, state: (torch.cat([features, state], 1), state + 1))


def make_random(features: int, size: int) -> nn.Module:
    return Only(lambda features, state: (features + torch.rand_like(features), state + features.sum(1, keepdim=True)))
