"""Policy and critic of a run: the one place that makes their parts. Knows settings of networks; knows no training."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from dppo.learner.frame_stacks import frames_before, stacked, stacked_leaf
from dppo.learner.image_leaves import check_images, cnn_of, picture_of
from dppo.learner.models.action_layout import ActionLayout
from dppo.learner.models.encoders import EmbeddingEncoder, HiddenEncoder, LeafEncoder, LeavesEncoder
from dppo.learner.models.heads import (
    ActionHead,
    BesideHidden,
    BetaHead,
    ExplorationHead,
    GaussianHead,
    NumbersHead,
)
from dppo.learner.models.image_encoders import ImageEncoder
from dppo.learner.models.layers import ACTIVATIONS, Activation, Initialisation, mlp
from dppo.learner.models.memory import AnyMemory, Kind, Memory
from dppo.learner.models.networks import ActionBounds, CriticNetwork, PolicyNetwork
from dppo.learner.models.own_networks import own_encoder, own_head, own_memory, own_policy
from dppo.learner.network_config import NetworkConfig, is_own
from dppo.learner.option_checks import check_noise
from dppo.protocol.specs import Leaf, Spec

CRITICS_SEED = 1  # added to the run's, for an encoder of the critic's own that a user's function makes


def build_networks(spec: Spec, network: NetworkConfig, seed: int) -> tuple[PolicyNetwork, CriticNetwork]:
    """Fresh networks, the same for the same seed. Raises UsageError where settings and spec do not fit."""
    generator = torch.Generator().manual_seed(seed)
    policy = _policy(spec, network, generator, seed)
    encoder, features = None, policy.remembered
    if network.critic_encoder == "own" and not policy.encodes_once and not network.policy:
        encoder, features = build_encoder(spec, network, generator, seed + CRITICS_SEED)
    critic = perceptron_critic(
        features,
        hidden=network.critic_hidden,
        activation=network.activation,
        generator=generator,
        initialisation=network.initialisation,
        layer_norm=network.layer_norm,
        encoder=encoder,
    )
    return policy, critic


def _policy(spec: Spec, network: NetworkConfig, generator: torch.Generator, seed: int) -> PolicyNetwork:
    if network.policy:
        return own_policy(network.policy, spec, seed)
    encoder, features = build_encoder(spec, network, generator, seed)
    memory = build_memory(network, features, generator, seed)
    frames = frames_before(spec, network)
    if network.head:
        return _with_own_head(spec, network, encoder, features, memory, frames, generator, seed)
    return perceptron_policy(
        spec,
        encoder,
        features,
        hidden=network.policy_hidden,
        activation=network.activation,
        initial_log_std=network.initial_log_std,
        action_bounds="logistic" if network.distribution == "beta" else network.action_bounds,
        generator=generator,
        numbers=_of_numbers(network, features if memory is None else memory.width),
        initialisation=network.initialisation,
        layer_norm=network.layer_norm,
        memory=memory,
        frames=frames,
    )


def build_memory(network: NetworkConfig, features: int, generator: torch.Generator, seed: int) -> AnyMemory | None:
    """Return the memory of features [N, features]; None without one. Raises UsageError."""
    if network.memory == "none":
        return None
    if is_own(network.memory):
        return own_memory(network.memory, features, network.memory_width, seed)
    kind: Kind = "gru" if network.memory == "gru" else "lstm"
    return Memory(kind, features, network.memory_width, generator, layers=network.memory_layers)


def _of_numbers(network: NetworkConfig, features: int) -> NumbersHead:
    """Return what the outputs for numbers mean. features: of the encoder, or of the memory."""
    if network.distribution == "beta":
        return BetaHead()
    gaussian = GaussianHead(network.mean, network.mean_scale, network.std, network.std_floor, network.noise_colour)
    if network.exploration == "independent":
        return gaussian
    return ExplorationHead(gaussian, (features, *network.policy_hidden)[-1], network.exploration_steps)


def _setting_of(numbers: NumbersHead) -> str:
    """Return what decides how much noise an action takes, for messages."""
    if isinstance(numbers, ExplorationHead):
        return "network.exploration=state"
    return "network.distribution=beta" if isinstance(numbers, BetaHead) else "the action"


def build_encoder(spec: Spec, network: NetworkConfig, generator: torch.Generator, seed: int) -> tuple[nn.Module, int]:
    """Return the encoder of a spec's observation, and how many features it makes. Raises UsageError."""
    if is_own(network.encoder):
        several = stacked(spec, network)
        leaves = [stacked_leaf(leaf, network.frame_stack) if leaf in several else leaf for leaf in spec.observation]
        encoder, features = own_encoder(network.encoder, leaves, seed)
    else:
        check_images(spec, network)
        parts = [_of_leaf(leaf, network, generator) for leaf in spec.observation]
        features = sum(part.features for part in parts)
        encoder = parts[0] if len(parts) == 1 else LeavesEncoder(parts, features)
    if not network.encoder_hidden:
        return encoder, features
    width = network.encoder_hidden[-1]
    return HiddenEncoder(encoder, _hidden_layers((features, *network.encoder_hidden), network, generator), width), width


def _of_leaf(
    leaf: Leaf, network: NetworkConfig, generator: torch.Generator
) -> LeafEncoder | EmbeddingEncoder | ImageEncoder:
    cnn, picture = cnn_of(leaf, network), picture_of(leaf, network.image_channels)
    if cnn is not None and picture is not None:
        frames = network.frame_stack
        return ImageEncoder(picture, cnn, initialisation=network.initialisation, generator=generator, frames=frames)
    if leaf.kind == "discrete" and network.embedding:
        return EmbeddingEncoder(leaf, network.embedding, generator)
    return LeafEncoder(leaf, normalise=network.normalise_observations)


def _hidden_layers(widths: Sequence[int], network: NetworkConfig, generator: torch.Generator) -> nn.Sequential:
    """Layers that all end with an activation."""
    layers = mlp(
        widths,
        network.activation,
        initialisation=network.initialisation,
        head_gain=math.sqrt(2),
        generator=generator,
        layer_norm=network.layer_norm,
    )
    norm = [nn.LayerNorm(widths[-1])] if network.layer_norm and len(widths) > 1 else []
    end = [*norm, ACTIVATIONS[network.activation]()] if len(widths) > 1 else []
    return nn.Sequential(*layers, *end)


def _with_own_head(
    spec: Spec,
    network: NetworkConfig,
    encoder: nn.Module,
    features: int,
    memory: AnyMemory | None,
    frames: Sequence[Leaf],
    generator: torch.Generator,
    seed: int,
) -> PolicyNetwork:
    widths = (features if memory is None else memory.width, *network.policy_hidden)
    body = _hidden_layers(widths, network, generator)
    head = own_head(network.head, ActionLayout(spec.action), widths[-1], seed)
    return PolicyNetwork(
        spec,
        encoder=encoder,
        features=features,
        body=body,
        head=head,
        action_bounds=network.action_bounds,
        memory=memory,
        frames=frames,
    )


def perceptron_policy(
    spec: Spec,
    encoder: nn.Module,
    features: int,
    *,
    hidden: Sequence[int],
    activation: Activation,
    initial_log_std: float,
    action_bounds: ActionBounds,
    generator: torch.Generator,
    numbers: NumbersHead = GaussianHead(),
    initialisation: Initialisation = "orthogonal",
    layer_norm: bool = False,
    memory: AnyMemory | None = None,
    frames: Sequence[Leaf] = (),
) -> PolicyNetwork:
    """A perceptron on the encoder's features [N, features], or on the memory's, with the built-in head."""
    layout = ActionLayout(spec.action, numbers.noise_of_a_number, numbers.held_steps, numbers.noise_colour)
    check_noise(_setting_of(numbers), layout.noise_of_numbers)
    head = ActionHead(layout, numbers, float(initial_log_std), squashes=action_bounds == "squash")
    kept = numbers.hidden if isinstance(numbers, ExplorationHead) else 0  # of the inputs of the last layer
    body = mlp(
        (features if memory is None else memory.width, *hidden, head.inputs - kept),
        activation,
        initialisation=initialisation,
        head_gain=0.01,
        generator=generator,
        layer_norm=layer_norm,
    )
    if layout.boxes and isinstance(numbers, GaussianHead) and numbers.std == "state":
        last = body[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias[layout.numbers : head.numbers], numbers.starting_bias(initial_log_std))
    if kept:
        last = body[-1]
        assert isinstance(last, nn.Linear)
        body[-1] = BesideHidden(last, layout.numbers)
    return PolicyNetwork(
        spec,
        encoder=encoder,
        features=features,
        body=body,
        head=head,
        action_bounds=action_bounds,
        memory=memory,
        frames=frames,
    )


def perceptron_critic(
    features: int,
    *,
    hidden: Sequence[int],
    activation: Activation,
    generator: torch.Generator,
    initialisation: Initialisation = "orthogonal",
    layer_norm: bool = False,
    encoder: nn.Module | None = None,
) -> CriticNetwork:
    """A perceptron on features [N, features] of the policy's encoder, or of its own."""
    body = mlp(
        (features, *hidden, 1),
        activation,
        initialisation=initialisation,
        head_gain=1.0,
        generator=generator,
        layer_norm=layer_norm,
    )
    return CriticNetwork(body, encoder=encoder)
