"""An encoder of your own: waves of the observation beside its numbers. `python examples/own_network.py`.

Actors need neither this file nor PyTorch: they run the exported graph.
"""

from collections.abc import Sequence

import torch
from torch import nn

import dppo
from dppo.networks import Leaf, LeafEncoder


class Waves(nn.Module):
    """Features [N, f] out of observations: the numbers, and sines of learned sums of them."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        super().__init__()
        self.leaves = nn.ModuleList(LeafEncoder(leaf, normalise=False) for leaf in leaves)
        self.layer = nn.Linear(sum(leaf.features for leaf in leaves), 32)

    def forward(self, *observation: torch.Tensor) -> torch.Tensor:
        """Return the features of a batch of observations."""
        parts = [leaf(part) for leaf, part in zip(self.leaves, observation, strict=True)]
        numbers = torch.cat(parts, 1)
        return torch.cat([numbers, self.layer(numbers).sin()], 1)


def make_encoder(leaves: Sequence[Leaf]) -> nn.Module:
    """Return the module for observations of these leaves."""
    return Waves(leaves)


if __name__ == "__main__":
    result = dppo.train(
        env="CartPole-v1",
        actors=2,
        total_steps=20_000,
        network=dict(encoder="own_network:make_encoder", policy_hidden=(32,), critic_hidden=(32,)),
        directory="runs/own-network",
    )
    print(f"mean return {result.mean_return:.0f} of the last training episodes, by {result.policy}")
