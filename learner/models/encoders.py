"""Encoders of numbers and choices: observation leaves to features. Knows PyTorch and leaves; knows no training.

Box leaves are flattened and normalised, the others are one-hot or 0 and 1, and never normalised, or embedded. Features
of several leaves stand side by side in the spec's order.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dppo.learner.models.action_layout import TORCH_DTYPES
from dppo.protocol.specs import Leaf

OBSERVATION_CLIP = 10.0
UNNORMALISED_CLIP = 100.0  # stds of the observations so far
LARGEST_FEATURE = 1e15  # before anything has been observed: its squares and products with weights are still finite


class LeafEncoder(nn.Module):
    """An observation leaf to float32 features: flattened and normalised, or one-hot. Floats that are not normalised
    are limited to what a run has observed, so that one absurd number does not reach the networks.

    The normaliser's statistics are buffers, so they are part of a policy version: the actor that acts with it and the
    learner that trains on it see the same features.
    """

    mean: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    values: Tensor
    element: Tensor

    def __init__(self, leaf: Leaf, *, normalise: bool) -> None:
        super().__init__()
        self.leaf = leaf.name
        self.elements, self.flat = leaf.elements, len(leaf.shape) == 1
        self.one_hot, self.one_hots = leaf.kind == "discrete", leaf.kind == "multi_discrete"
        self.normalise = normalise and leaf.kind == "box"
        self.features = leaf.features
        if self.one_hot:
            self.register_buffer("values", torch.arange(leaf.start, leaf.start + leaf.categories), persistent=False)
        if self.one_hots:
            self._register_choices(leaf)
        if self.normalise:
            self.register_buffer("mean", torch.zeros(self.features))
            self.register_buffer("scale", torch.ones(self.features))
        self.limits = not self.normalise and leaf.dtype.startswith("<f")
        if self.limits:
            self.register_buffer("low", torch.full((self.features,), -LARGEST_FEATURE))
            self.register_buffer("high", torch.full((self.features,), LARGEST_FEATURE))

    def _register_choices(self, leaf: Leaf) -> None:
        """Set for each feature the element that it belongs to, and the value of which it says whether it is there."""
        limits = zip(leaf.first_values, leaf.last_values, strict=True)
        ranges = [torch.arange(first, last + 1) for first, last in limits]
        counts = torch.tensor([len(values) for values in ranges])
        self.register_buffer("values", torch.cat(ranges), persistent=False)
        self.register_buffer("element", torch.arange(leaf.elements).repeat_interleave(counts), persistent=False)

    @property
    def measured(self) -> bool:
        """Whether what it does follows from the moments of what was observed."""
        return self.normalise or self.limits

    def forward(self, observation: Tensor) -> Tensor:
        """Features [N, f] float32 of an observation [N, *shape] in the leaf's dtype."""
        if self.one_hot:
            return (observation.reshape(-1, 1) == self.values).to(torch.float32)
        flat = observation if self.flat else observation.reshape(-1, self.elements)
        if self.one_hots:
            return (flat.index_select(1, self.element) == self.values).to(torch.float32)
        flat = flat.to(torch.float32)
        if self.limits:
            return flat.maximum(self.low).minimum(self.high)
        if not self.normalise:
            return flat
        return ((flat - self.mean) * self.scale).clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)


class EmbeddingEncoder(nn.Module):
    """A Discrete leaf to a learned vector of each of its values, which begins as numbers of mean 0 and std 1."""

    def __init__(self, leaf: Leaf, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.features, self.start = width, leaf.start
        self.vectors = nn.Parameter(torch.randn(leaf.categories, width, generator=generator))

    def forward(self, observation: Tensor) -> Tensor:
        """Features [N, width] float32 of choices [N] int64."""
        return nn.functional.embedding(observation - self.start, self.vectors)


class LeavesEncoder(nn.Module):
    """Several observation leaves to the features of all of them, side by side."""

    def __init__(self, leaves: Sequence[nn.Module], features: int) -> None:
        """leaves: an encoder for each, in the spec's order. features: of all together."""
        super().__init__()
        self.leaves = nn.ModuleList(leaves)
        self.features = features

    def forward(self, *observation: Tensor) -> Tensor:
        """Features [N, f] float32 of leaves [N, *shape] in their dtypes."""
        pairs = zip(self.leaves, observation, strict=True)
        return torch.cat([encoder(leaf) for encoder, leaf in pairs], dim=-1)


class HiddenEncoder(nn.Module):
    """Hidden layers on the features of another encoder: what policy and critic share."""

    def __init__(self, encoder: nn.Module, hidden: nn.Module, features: int) -> None:
        """hidden: features [N, f] of the encoder to [N, features]."""
        super().__init__()
        self.encoder, self.hidden = encoder, hidden
        self.features = features

    def forward(self, *observation: Tensor) -> Tensor:
        """Features [N, features] float32 of leaves [N, *shape] in their dtypes."""
        features: Tensor = self.hidden(self.encoder(*observation))
        return features


def leaf_encoders(encoder: nn.Module) -> list[LeafEncoder]:
    """Return those within an encoder, or the encoder itself: a run feeds their statistics, wherever they are."""
    return [module for module in encoder.modules() if isinstance(module, LeafEncoder)]


def example_leaf(leaf: Leaf, rows: int) -> Tensor:
    """An observation [rows, *shape] to try networks with: the first of its choices, which an embedding has, or 0."""
    dtype = TORCH_DTYPES[leaf.dtype]
    if leaf.kind == "multi_discrete":
        return torch.tensor(leaf.first_values, dtype=dtype).reshape(leaf.shape).expand(rows, *leaf.shape).clone()
    return torch.full((rows, *leaf.shape), leaf.start, dtype=dtype)
