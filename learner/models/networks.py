"""Policy and critic as parts that can be replaced one by one. Knows PyTorch; knows no training and no export.

    observation leaves -> encoder -> features [-> memory] -> body -> outputs -> head -> distribution over actions

All are modules; docs/networks.md is their contract, `building` makes the built-in ones. Actors run
`PolicyNetwork.forward`, which is the graph that is exported; the learner trains on
`distribution(encode(observations))`, with the memory's sequences in between where there is one. All modules stay in
eval mode: the learner must see what actors saw, so Dropout does nothing, and BatchNorm keeps its statistics.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dppo.learner.models.action_layout import ActionLayout, as_given, as_stored
from dppo.learner.models.distributions import Distribution
from dppo.learner.models.heads import ActionHead
from dppo.learner.models.masking import MaskLayout, masked
from dppo.learner.models.memory import AnyMemory
from dppo.protocol.recurrent_state import RESET, STATE, stacked_name
from dppo.protocol.specs import Leaf, Spec

ActionBounds = Literal["clip", "rescale", "squash", "logistic"]  # logistic: of a Beta distribution's logits


class PolicyNetwork(nn.Module):
    """Observation to action distribution, and from there to actions. For the same spec, all parts fit together."""

    starts: Tensor
    low: Tensor
    mapped: Tensor
    high: Tensor
    middle: Tensor
    half_width: Tensor

    def __init__(
        self,
        spec: Spec,
        *,
        encoder: nn.Module,
        features: int,
        body: nn.Module,
        head: nn.Module,
        action_bounds: ActionBounds,
        memory: AnyMemory | None = None,
        frames: Sequence[Leaf] = (),
    ) -> None:
        """encoder: leaves [N, *shape] in the spec's order to features [N, features]. body: to outputs [N, o].

        head: outputs to a Distribution over rows of actions (ActionLayout); ActionHead, or one of the user's.
        memory: of the encoder's features; the body gets the memory's then. frames: leaves of those before the newest
        one of a stacked leaf, of which the encoder gets [N, k, *shape].
        """
        super().__init__()
        self.spec = spec
        self.leaves = tuple(leaf.name for leaf in spec.observation)  # of observations, in the order of `forward`
        self.layout = layout = head.layout if isinstance(head, ActionHead) else ActionLayout(spec.action)
        self.mask = MaskLayout(layout) if spec.mask else None
        self.memory = memory
        self.frame_leaves = tuple(frames)
        self.frames = {stacked_name(leaf.name): leaf.name for leaf in frames}  # by the stacked leaf's name
        carried = (*(() if memory is None else (STATE,)), *self.frames.values())
        carried = (*carried, RESET) if carried else ()
        self.inputs = (*self.leaves, *(leaf.name for leaf in spec.mask), *carried, "noise")
        self.features = features
        self.remembered = features if memory is None else memory.width  # numbers that body and critic get
        self.noise, self.outputs = layout.noise, layout.noise_size
        # first of all parameters, and of this name: checkpoints have it so
        self.log_std = head.log_std if isinstance(head, ActionHead) else None
        self.encoder, self.body, self.head = encoder, body, head
        if layout.boxes:
            self._register_bounds(action_bounds)
        if layout.chosen:
            self.register_buffer("starts", layout.starts(), persistent=False)
        self.eval()

    def _register_bounds(self, action_bounds: ActionBounds) -> None:
        """Constants for `_to_environment`; not part of the state, since the spec has them."""
        low, high = self.layout.bounds()
        self.clips = bool(low.isfinite().any() or high.isfinite().any())
        mapped = low.isfinite() & high.isfinite()
        self.rescales = action_bounds != "clip" and bool(mapped.any())
        self.squashes = action_bounds in ("squash", "logistic") and bool(mapped.any())
        self.is_logistic = action_bounds == "logistic"
        self.register_buffer("mapped", mapped, persistent=False)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)
        self.register_buffer("middle", torch.where(mapped, low / 2 + high / 2, 0.0), persistent=False)
        self.register_buffer("half_width", torch.where(mapped, high / 2 - low / 2, 1.0), persistent=False)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return (action leaves, env_action leaves, behaviour_log_prob) for E environments: what an actor runs.

        Last comes what is carried on: a memory's next state [E, s], and frames [E, k - 1, *shape] of stacked leaves.

        inputs, as `self.inputs` names them: observation leaves [E, *shape] in the wire dtypes, in the spec's order; the
        mask of actions bool [E, size], where the spec has one; a memory's state [E, s]; frames [E, k - 1, *shape] of
        stacked leaves; with either bool [E], where an episode begins, so that the state counts as zeros and the frames
        as the observation; and last noise [E, n] float32, of the kind that
        `self.noise` names, 0 for the deterministic policy. action [E, *shape] is what is stored and
        trained on: the unclipped sample, or the choice counted from 0 (int64; flags: bool). env_action is the same
        after bounds or start. behaviour_log_prob [E] is of `action`, joint over its leaves.
        """
        *given, noise = inputs
        distribution, *after = self._acted(given)
        action = distribution.sample(noise)
        log_prob = distribution.log_prob(action)
        if self.layout.kind == "categorical":
            return action, action + self.layout.leaves[0].start, log_prob, *after
        numbers, choices = self.layout.halves(action)
        of_action = self.layout.leaves
        env_action = (
            None if numbers is None else self._to_environment(numbers),
            None if choices is None else choices + self.starts,
        )
        stored = map(as_stored, of_action, self.layout.parts(numbers, choices))
        return *stored, *map(as_given, of_action, self.layout.parts(*env_action)), log_prob, *after

    def _acted(self, inputs: Sequence[Tensor]) -> tuple[Distribution, *tuple[Tensor, ...]]:
        """Return the distribution at inputs as `forward` takes them, but noise, and what is carried on."""
        named = dict(zip(self.inputs, inputs, strict=False))
        legal = None if self.mask is None else self.mask(inputs[len(self.leaves)])
        seen = self.seen(named)
        features = self.encoder(*seen.values())
        after = [seen[name][:, 1:] for name in self.frames]
        if self.memory is not None:
            features, state = self.memory(features, named[STATE], named[RESET])
            after.insert(0, state)
        return self.distribution(features, legal), *after

    def seen(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Observation leaves as the encoder takes them, by name: stacked ones [E, k, *shape], the newest frame last.

        inputs: as `forward` takes them, by name.
        """
        seen = {name: inputs[name] for name in self.leaves}
        for name, frames in self.frames.items():
            newest = inputs[name].unsqueeze(1)
            begins = inputs[RESET].reshape(-1, *[1] * (newest.dim() - 1))
            seen[name] = torch.cat([torch.where(begins, newest, inputs[frames]), newest], 1)
        return seen

    def distribution_of(self, inputs: Sequence[Tensor]) -> Distribution:
        """The distribution over actions at inputs as `forward` takes them, but noise."""
        return self._acted(inputs)[0]

    def encode(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Features [N, f] of observation leaves [N, *shape] by name, in the wire dtypes; stacked [N, k, *shape]."""
        return encoded(self.encoder, self.leaves, observations)

    @property
    def encodes_once(self) -> bool:
        """Whether the encoder's features may be kept for a whole batch: no training changes them within one."""
        return next(self.encoder.parameters(), None) is None

    def distribution(self, features: Tensor, legal: Tensor | None = None) -> Distribution:
        """The distribution over actions at features [N, f], the memory's where there is one.

        legal: as of MaskLayout; None: all choices.
        """
        outputs = self.body(features)
        takes_masks = legal is not None and type(self.head) is ActionHead  # one of the user's knows nothing of them
        distribution: Distribution = self.head(outputs, legal) if takes_masks else self.head(outputs)
        return distribution if legal is None or takes_masks else masked(distribution, legal)

    def _to_environment(self, action: Tensor) -> Tensor:
        """A sample of numbers within the environment's bounds; a side without a bound is left alone."""
        if self.squashes:
            halved = 0.5 * action if self.is_logistic else action  # logistic(y) is (1 + tanh(y / 2)) / 2
            action = torch.where(self.mapped, halved.tanh(), action)
        if self.rescales:
            action = self.middle + action * self.half_width
        return action.maximum(self.low).minimum(self.high) if self.clips else action


class CriticNetwork(nn.Module):
    """Features to one value, in the units of the normalised returns."""

    def __init__(self, body: nn.Module, *, encoder: nn.Module | None = None) -> None:
        """body: features [N, f] to values [N, 1]. encoder: its own; None where the features are the policy's."""
        super().__init__()
        self.body = body
        self.encoder = encoder
        self.eval()

    def forward(self, features: Tensor) -> Tensor:
        """Values [N] of encoded observations [N, f]."""
        values: Tensor = self.body(features)
        return values.squeeze(-1)


def encoded(encoder: nn.Module, leaves: Sequence[str], observations: Mapping[str, Tensor]) -> Tensor:
    """Features [N, f] that an encoder makes of leaves [N, *shape] by name; leaves: their names in its order."""
    features: Tensor = encoder(*(observations[name] for name in leaves))
    return features


def critic_encode(policy: PolicyNetwork, critic: CriticNetwork) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """Return what makes the features that the critic reads: the policy's encoder, or its own."""
    if critic.encoder is None:
        return policy.encode
    return functools.partial(encoded, critic.encoder, policy.leaves)
