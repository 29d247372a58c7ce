"""Settings of policy and critic, checked when made. Knows names, ranges and defaults; imports nothing of a user's.

The text below a field is its help, as in `config`.
"""

import math
import re
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Literal

from dppo.learner.setting_checks import at_least, at_most, positive
from dppo.protocol.env_names import NO_POLICY_CLASS, POLICY_CLASSES
from dppo.protocol.errors import UsageError

MOST_LOG_STD = 20.0  # e**20 is 5e8
MOST_LAYERS = 64
MOST_WIDTH = 65_536
MOST_FRAMES = 64
LEAST_COLOUR, MOST_COLOUR = 0.01, 2.0  # from nearly white to red
OF_GAUSSIANS = {"mean", "mean_scale", "std", "std_floor", "initial_log_std", "exploration", "noise_colour"}
ENCODERS = ("auto", "flat", "nature_cnn", "impala_cnn")
STATES = {"none": 0, "gru": 1, "lstm": 2}  # numbers of a memory's state for each that it gives on
_OWN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class NetworkConfig:
    """Policy and critic: multilayer perceptrons on what an encoder makes of an observation (docs/networks.md)."""

    policy_hidden: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers."""
    critic_hidden: tuple[int, ...] = (64, 64)
    """Widths of the critic's hidden layers."""
    activation: Literal["tanh", "relu", "elu"] = "tanh"
    """Between the layers."""
    initialisation: Literal["orthogonal", "glorot"] = "orthogonal"
    """Weights at the start: orthogonal with gain sqrt 2 (the policy's outputs 0.01), or uniform as Glorot and Bengio,
    which is TensorFlow's way. Biases are 0."""
    distribution: Literal["gaussian", "beta"] = "gaussian"
    """Distribution of an action's numbers: a Gaussian, whose samples action_bounds brings within the bounds, or a Beta
    distribution, which is between the bounds by itself; all numbers must have both."""
    mean: Literal["linear", "tanh"] = "linear"
    """The Gaussian's mean: the network's output, or mean_scale times its tanh."""
    mean_scale: float = 1.0
    """End of the range of a tanh mean, in the action's units (those of the bounds with action_bounds=rescale)."""
    std: Literal["free", "state"] = "free"
    """The Gaussian's standard deviation: a learned number, the same in every state (free), or an output of the network
    (state: softplus plus std_floor)."""
    std_floor: float = 1e-3
    """Added to a state-dependent std, so that densities stay finite."""
    initial_log_std: float = 0.0
    """Log of the Gaussian's standard deviation at the start (continuous actions); -0.3665 is softplus(0)."""
    exploration: Literal["independent", "state"] = "independent"
    """Noise of a Gaussian with a free std: drawn anew in every step, or a random function of the state that an actor
    keeps for exploration_steps steps (gSDE, docs/options.md)."""
    exploration_steps: int = 4
    """Steps for which exploration=state keeps one function; 0: for a whole episode."""
    noise_colour: float = 0.0
    """Colour of the noise of exploration=independent: its power falls with the frequency f as 1 / f^colour, so that
    actions of neighbouring steps lean the same way. 0: white, drawn anew in every step; 0.5: between; 1: pink
    (docs/options.md)."""
    action_bounds: Literal["clip", "rescale", "squash"] = "clip"
    """Way of a continuous action to the environment's bounds: clip it, map -1..1 onto the bounds and clip, or squash it
    by a tanh and map that onto the bounds, with exact log-probabilities. Stored and trained on is the action before, in
    every case."""
    normalise_observations: bool = True
    """Subtract the running mean of observations, divide by their std, clip to +-10. Of Box leaves only: choices are
    one-hot, flags 0 and 1, images are divided by 255."""
    encoder: str = "auto"
    """Maker of features of an observation: flat (numbers side by side), nature_cnn or impala_cnn (for images: leaves
    of uint8 with two or three dimensions; the others are as in flat), auto (nature_cnn for images of 36 x 36 and more,
    else flat), or a function of yours, as module:function (docs/networks.md)."""
    image_channels: Literal["auto", "first", "last"] = "auto"
    """Place of the channels in images of three dimensions; auto takes for height and width the two neighbours that
    are nearest to a square."""
    frame_stack: int = 1
    """Newest frames of each image that the policy sees side by side, as more channels. Environments give single ones,
    and each crosses the wire once: actors and learner stack them. An episode begins with its first frame repeated."""
    embedding: int = 0
    """Numbers that a learned embedding makes of each Discrete leaf; 0: one-hot."""
    encoder_hidden: tuple[int, ...] = ()
    """Widths of hidden layers on all features together that belong to the encoder: a trunk that policy and critic
    share."""
    critic_encoder: Literal["shared", "own"] = "shared"
    """Encoder that the critic reads, where the encoder has parameters: the policy's, which the losses of both train
    (only the policy's, where the critic has an Adam of its own), or one of the same kind of its own."""
    layer_norm: bool = False
    """Normalise the outputs of hidden layers before their activation (LayerNorm)."""
    memory: str = "none"
    """Memory of an episode between the encoder and the hidden layers, which policy and critic share: none, gru, lstm,
    or a function of yours, as module:function (docs/memory.md)."""
    memory_width: int = 64
    """Numbers that the memory gives to the hidden layers; of a memory of yours: numbers of its state."""
    memory_layers: int = 1
    """Layers of the GRU or LSTM, all of memory_width."""
    bptt_steps: int = 16
    """Steps of a column after which sequences are cut in training (truncated backpropagation through time); 0: only
    where episodes and segments end."""
    head: str = ""
    """A function of yours, as module:function, that makes what turns the last hidden layer into a distribution over
    actions; empty: a Gaussian for numbers, logits for choices."""
    policy: str = ""
    """A function of yours, as module:function, that makes the whole policy; empty: it is made of its parts."""

    def __post_init__(self) -> None:
        positive("network", self, "mean_scale", "std_floor")
        at_least("network", self, 0, "embedding", "bptt_steps", "exploration_steps")
        at_least("network", self, 1, "memory_width", "memory_layers", "frame_stack")
        at_most("network", self, MOST_FRAMES, "frame_stack")
        at_most("network", self, MOST_WIDTH, "embedding", "memory_width")
        at_most("network", self, MOST_LAYERS, "memory_layers")
        _check_memory(self)
        _check_frames(self)
        _check_numbers(self)
        _check_names(encoder=self.encoder, memory=self.memory, head=self.head, policy=self.policy)
        for setting, name in self.own_code.items():
            if self.embedding and setting in ("network.encoder", "network.policy"):
                raise UsageError(f"{setting}={name} makes all features: leave out network.embedding={self.embedding}")
        if self.std == "state" and self.initial_log_std <= math.log(self.std_floor):
            raise UsageError(
                f"network.initial_log_std={self.initial_log_std} starts below network.std_floor={self.std_floor}: "
                f"choose more than {math.log(self.std_floor):.2f}"
            )
        if abs(self.initial_log_std) > MOST_LOG_STD:
            raise UsageError(
                f"network.initial_log_std={self.initial_log_std} is a std of e to that power: choose from "
                f"{-MOST_LOG_STD:g} to {MOST_LOG_STD:g}"
            )
        for name in ("policy_hidden", "critic_hidden", "encoder_hidden"):
            if len(getattr(self, name)) > MOST_LAYERS or any(width > MOST_WIDTH for width in getattr(self, name)):
                raise UsageError(
                    f"network.{name}={getattr(self, name)} is too large: at most {MOST_LAYERS} layers of {MOST_WIDTH:,}"
                )
            if any(width <= 0 for width in getattr(self, name)):
                raise UsageError(
                    f"network.{name}={getattr(self, name)} has a width below 1: choose for example (64, 64)"
                )

    @property
    def state_size(self) -> int:
        """Numbers of the memory's state of one environment; 0 without memory."""
        return STATES.get(self.memory, 1) * self.memory_layers * self.memory_width

    @property
    def own_code(self) -> dict[str, str]:
        """Names of functions of the user's, by setting."""
        named = {"encoder": self.encoder, "memory": self.memory, "head": self.head, "policy": self.policy}
        return {f"network.{part}": name for part, name in named.items() if is_own(name)}


def is_own(name: str) -> bool:
    """Whether a setting names a function of the user's."""
    return ":" in name


def _check_memory(network: NetworkConfig) -> None:
    """Raise UsageError where other settings exclude a memory, or need one."""
    if network.memory == "none":
        for name in ("memory_width", "memory_layers", "bptt_steps"):
            if getattr(network, name) != getattr(NetworkConfig, name):
                raise UsageError(
                    f"network.{name}={getattr(network, name)} is of a memory, and there is none: set network.memory to "
                    "gru or lstm, or leave it out"
                )
        return
    if is_own(network.memory) and network.memory_layers > 1:
        raise UsageError(
            f"network.memory_layers={network.memory_layers} is of gru and lstm: leave it out with network.memory="
            f"{network.memory}, and say by network.memory_width how many numbers its state has"
        )
    if network.policy:
        raise UsageError(f"network.policy={network.policy} makes all parts: leave out network.memory={network.memory}")
    if network.critic_encoder == "own":
        raise UsageError(
            f"network.critic_encoder=own with network.memory={network.memory}: the critic reads the memory, which is "
            "behind the policy's encoder: leave it at shared"
        )


def _check_frames(network: NetworkConfig) -> None:
    """Raise UsageError where other settings exclude stacked frames."""
    if network.frame_stack > 1 and network.policy:
        raise UsageError(
            f"network.policy={network.policy} makes all parts: leave out network.frame_stack={network.frame_stack}"
        )


def _check_numbers(network: NetworkConfig) -> None:
    """Raise UsageError where settings of the distribution of numbers exclude each other, or a part of the user's."""
    options = {
        "network.action_bounds=squash": network.action_bounds == "squash",
        "network.distribution=beta": network.distribution == "beta",
        "network.exploration=state": network.exploration == "state",
        f"network.noise_colour={network.noise_colour:g}": bool(network.noise_colour),
    }
    for setting in (setting for setting, is_set in options.items() if is_set):
        if network.head or network.policy:
            raise UsageError(f"{setting} is of the built-in head: leave it out, or network.head and network.policy")
    for field in fields(NetworkConfig):
        value = getattr(network, field.name)
        is_of_gaussians = field.name in OF_GAUSSIANS or value == "squash"
        if network.distribution == "beta" and is_of_gaussians and value != field.default:
            raise UsageError(
                f"network.{field.name}={value} is of Gaussians, and network.distribution=beta has none: leave out one"
            )
    if network.noise_colour and not LEAST_COLOUR <= network.noise_colour <= MOST_COLOUR:
        raise UsageError(
            f"network.noise_colour={network.noise_colour:g} must be 0, which is white, or from {LEAST_COLOUR:g} to "
            f"{MOST_COLOUR:g}: choose for example 0.5"
        )
    if network.noise_colour and network.exploration == "state":
        raise UsageError(
            f"network.noise_colour={network.noise_colour:g} is of noise of every step, and network.exploration=state "
            "keeps its noise for some steps: leave out one"
        )
    if network.exploration == "state" and network.std == "state":
        raise UsageError("network.exploration=state makes a std of every state: leave out network.std=state")
    if network.exploration != "state" and network.exploration_steps != NetworkConfig.exploration_steps:
        raise UsageError(
            f"network.exploration_steps={network.exploration_steps} is of network.exploration=state: set that too"
        )


def _check_names(*, encoder: str, memory: str, head: str, policy: str) -> None:
    """Raise UsageError where a name cannot be one, or names exclude each other."""
    for part, name in (("encoder", encoder), ("memory", memory), ("head", head), ("policy", policy)):
        if name in POLICY_CLASSES:
            raise UsageError(f"network.{part}={name} {NO_POLICY_CLASS}")
    for part, name, built_in in (("encoder", encoder, ENCODERS), ("memory", memory, tuple(STATES))):
        if not is_own(name) and name not in built_in:
            near = get_close_matches(name.lower(), built_in, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UsageError(
                f"network.{part}={name!r} is none of {', '.join(built_in)}{hint}, and no module:function, for example "
                f"my_nets:make_{part}"
            )
    for part, name in (("encoder", encoder), ("memory", memory), ("head", head), ("policy", policy)):
        is_wrong = not _OWN.fullmatch(name) or ".py:" in name
        if name and (is_own(name) or part in ("head", "policy")) and is_wrong:
            raise UsageError(
                f"network.{part}={name!r} must be module:function, for example my_nets:make_{part} (the module as "
                "`import` names it, not a file)"
            )
    if policy and (encoder != "auto" or head):
        other = f"network.encoder={encoder}" if encoder != "auto" else f"network.head={head}"
        raise UsageError(f"network.policy={policy} makes all parts: leave out {other}")
