"""Policy and critic networks, made from a spec. Knows PyTorch; knows no training and no export.

Three layers that can be replaced one by one: an encoder (observation leaves to features), a body (features to
outputs) and a head (outputs to a distribution). The learner encodes a whole batch once and trains on the features; an
actor runs `PolicyNetwork.forward`, which is the graph that is exported.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from dppo.learner.models.activations import Tanh
from dppo.learner.models.distributions import Categorical, Distribution, Noise
from dppo.learner.models.heads import GaussianHead
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Leaf, Spec

OBSERVATION_CLIP = 10.0
UNNORMALISED_CLIP = 100.0  # stds of the observations so far
LARGEST_FEATURE = 1e15  # before anything has been observed: its squares and products with weights are still finite

Activation = Literal["tanh", "relu", "elu"]
ActionBounds = Literal["clip", "rescale"]
Initialisation = Literal["orthogonal", "glorot"]

_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {"tanh": Tanh, "relu": nn.ReLU, "elu": nn.ELU}


class ObservationEncoder(nn.Module):
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

    def __init__(self, leaf: Leaf, *, normalise: bool) -> None:
        super().__init__()
        self.elements, self.flat = leaf.elements, len(leaf.shape) == 1
        self.one_hot = leaf.kind == "discrete"
        self.normalise = normalise and not self.one_hot
        self.features = leaf.categories if self.one_hot else leaf.elements
        if self.one_hot:
            self.register_buffer("values", torch.arange(leaf.start, leaf.start + leaf.categories), persistent=False)
        if self.normalise:
            self.register_buffer("mean", torch.zeros(self.features))
            self.register_buffer("scale", torch.ones(self.features))
        self.limits = not self.normalise and leaf.dtype.startswith("<f")
        if self.limits:
            self.register_buffer("low", torch.full((self.features,), -LARGEST_FEATURE))
            self.register_buffer("high", torch.full((self.features,), LARGEST_FEATURE))

    def forward(self, observation: Tensor) -> Tensor:
        """Features [N, f] float32 of an observation [N, *shape] in the leaf's dtype."""
        if self.one_hot:
            return (observation.reshape(-1, 1) == self.values).to(torch.float32)
        flat = (observation if self.flat else observation.reshape(-1, self.elements)).to(torch.float32)
        if self.limits:
            return flat.maximum(self.low).minimum(self.high)
        if not self.normalise:
            return flat
        return ((flat - self.mean) * self.scale).clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)


class PolicyNetwork(nn.Module):
    """Observation to action distribution: a perceptron, with a Gaussian or a categorical head."""

    low: Tensor
    high: Tensor
    middle: Tensor
    half_width: Tensor

    def __init__(
        self,
        spec: Spec,
        *,
        hidden: Sequence[int],
        activation: Activation,
        initial_log_std: float,
        action_bounds: ActionBounds,
        normalise_observations: bool,
        generator: torch.Generator,
        head: GaussianHead = GaussianHead(),
        initialisation: Initialisation = "orthogonal",
    ) -> None:
        super().__init__()
        observation, action = only_leaf(spec.observation), only_leaf(spec.action)
        self.leaf = observation.name
        self.encoder = ObservationEncoder(observation, normalise=normalise_observations)
        self.discrete = action.kind == "discrete"
        self.noise: Noise = "gumbel" if self.discrete else "normal"
        self.outputs = action.categories if self.discrete else action.elements  # also the width of the noise
        self.action_shape, self.start = action.shape, action.start
        self.head = head
        self.body = mlp(
            (self.encoder.features, *hidden, self.outputs if self.discrete else head.outputs(self.outputs)),
            activation,
            initialisation=initialisation,
            head_gain=0.01,
            generator=generator,
        )
        self.log_std: nn.Parameter | None = None  # where the std is the same in every state
        if not self.discrete:
            self._start_deviation_at(float(initial_log_std))
            self._register_bounds(action, action_bounds)

    def _start_deviation_at(self, log_std: float) -> None:
        if self.head.std == "free":
            self.log_std = nn.Parameter(torch.full((self.outputs,), log_std))
            return
        last = self.body[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias[self.outputs :], self.head.starting_bias(log_std))

    def _register_bounds(self, action: Leaf, action_bounds: ActionBounds) -> None:
        """Constants for `_to_environment`; not part of the state, since the spec has them."""
        low = _each(action.low, -math.inf, self.outputs)
        high = _each(action.high, math.inf, self.outputs)
        self.clips = bool(low.isfinite().any() or high.isfinite().any())
        mapped = low.isfinite() & high.isfinite()
        self.rescales = action_bounds == "rescale" and bool(mapped.any())
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)
        self.register_buffer("middle", torch.where(mapped, low / 2 + high / 2, 0.0), persistent=False)
        self.register_buffer("half_width", torch.where(mapped, high / 2 - low / 2, 1.0), persistent=False)

    def forward(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (action, env_action, behaviour_log_prob) of E environments: the graph that an actor runs.

        observation [E, *shape] in the wire dtype; noise [E, n] float32, of the kind that `self.noise` names, 0 for the
        deterministic policy. action [E, *shape] is what is stored and trained on: the unclipped sample, or the choice
        counted from 0 (int64). env_action is the same after bounds or start. behaviour_log_prob [E] is of `action`.
        """
        distribution = self.distribution(self.encoder(observation))
        action = distribution.sample(noise)
        log_prob = distribution.log_prob(action)
        if self.discrete:
            return action, action + self.start, log_prob
        env_action = self._to_environment(action)
        if len(self.action_shape) == 1:
            return action, env_action, log_prob
        shape = (-1, *self.action_shape)
        return action.reshape(shape), env_action.reshape(shape), log_prob

    def encode(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Features [N, f] of observation leaves [N, *shape] by name, in the wire dtypes."""
        features: Tensor = self.encoder(observations[self.leaf])
        return features

    @property
    def encodes_once(self) -> bool:
        """Whether features may be kept for a whole batch: no training changes them within one."""
        return next(self.encoder.parameters(), None) is None

    def distribution(self, features: Tensor) -> Distribution:
        """The distribution over actions at encoded observations [N, f]."""
        outputs = self.body(features)
        if self.discrete:
            return Categorical(outputs.log_softmax(-1))
        return self.head.gaussian(outputs, self.log_std)

    def log_prob_and_entropy(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Distribution]:
        """(log_prob [N], entropy [N] or [], the distribution) for actions [N, *shape] as `forward` gives them."""
        distribution = self.distribution(self.encoder(observation))
        action = action if self.discrete else action.reshape(-1, self.outputs)
        return distribution.log_prob(action), distribution.entropy(), distribution

    def _to_environment(self, action: Tensor) -> Tensor:
        """A Gaussian's sample within the environment's bounds; a side without a bound is left alone."""
        if self.rescales:
            action = self.middle + action * self.half_width
        return action.maximum(self.low).minimum(self.high) if self.clips else action


class CriticNetwork(nn.Module):
    """Features to one value, in the units of the normalised returns."""

    def __init__(
        self,
        features: int,
        *,
        hidden: Sequence[int],
        activation: Activation,
        generator: torch.Generator,
        initialisation: Initialisation = "orthogonal",
    ) -> None:
        super().__init__()
        self.body = mlp(
            (features, *hidden, 1), activation, initialisation=initialisation, head_gain=1.0, generator=generator
        )

    def forward(self, features: Tensor) -> Tensor:
        """Values [N] of encoded observations [N, f]."""
        values: Tensor = self.body(features)
        return values.squeeze(-1)


def mlp(
    widths: Sequence[int],
    activation: Activation,
    *,
    initialisation: Initialisation,
    head_gain: float,
    generator: torch.Generator,
) -> nn.Sequential:
    """Linear layers with activations between them, biases 0.

    Orthogonal weights have gain sqrt 2, the last layer head_gain: those of Andrychowicz et al. 2021 (arXiv 2006.05990,
    section 3.2) and of the original PPO code. Glorot: uniform in +-sqrt(6 / (inputs + outputs)).
    """
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        last = index == len(widths) - 2
        linear = nn.Linear(inputs, outputs)  # not skip_init: that imports sympy, which takes 0.3 s
        if initialisation == "glorot":
            nn.init.xavier_uniform_(linear.weight, generator=generator)
        else:
            nn.init.orthogonal_(linear.weight, head_gain if last else math.sqrt(2), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, _ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def _each(bounds: Sequence[float], none: float, elements: int) -> Tensor:
    """Bounds as in a spec (one for each element, one for all, or none), float32 [elements]."""
    tensor = torch.tensor(tuple(bounds) or (none,), dtype=torch.float32)
    return tensor.expand(elements).clone() if len(tensor) != elements else tensor


def only_leaf(leaves: Sequence[Leaf]) -> Leaf:
    """The single leaf of a group; several are not built yet."""
    if len(leaves) != 1:
        raise UsageError(f"the networks take one observation and one action leaf, not {[leaf.name for leaf in leaves]}")
    return leaves[0]
