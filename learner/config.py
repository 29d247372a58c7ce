"""Every setting of a learner, checked when made. Knows names, ranges and defaults; knows no command line and no file.

The text below a field is its help: the command line and docs/settings.md are generated from it.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from protocol.errors import UsageError

MAX_KWARGS_CHARACTERS = 2048  # protocol.messages.EnvSettings


def _positive(section: str, config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise UsageError(f"{section}.{name}={getattr(config, name)} must be above 0")


def _at_least(section: str, config: object, minimum: float, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= minimum:
            raise UsageError(f"{section}.{name}={getattr(config, name)} must be at least {minimum}")


def _ascending(section: str, config: object, *names: str) -> None:
    values = [getattr(config, name) for name in names]
    if values != sorted(values):
        raise UsageError(f"{section}: {' <= '.join(names)} does not hold for {', '.join(map(str, values))}")


@dataclass(frozen=True)
class EnvConfig:
    """The environment that every actor steps."""

    id: str = "CartPole-v1"
    """Gymnasium id; `module:id` imports the module first (for your own environments)."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments for gymnasium.make, for example {"max_episode_steps": 100}."""
    vectorization: Literal["auto", "sync", "async", "native"] = "auto"
    """How an actor steps several environments: native (the environment's own vector version), sync (one after the
    other), async (one process each); auto takes native where there is one, else sync."""

    step_timeout_seconds: float = 60.0
    """A step, a reset, or the making of an environment that takes longer is hung: its actor reports where, writes the
    stack to its log and ends with code 1, so that whoever started it can start another; 0: wait for ever. In a run
    without actor processes it is only reported."""

    def __post_init__(self) -> None:
        _at_least("env", self, 0, "step_timeout_seconds")
        try:
            length = len(self.kwargs_json)
        except (TypeError, ValueError) as error:
            raise UsageError(f"env.kwargs={self.kwargs} must be plain JSON values: {error}") from None
        if length > MAX_KWARGS_CHARACTERS:
            raise UsageError(
                f"env.kwargs takes {length} characters of JSON; {MAX_KWARGS_CHARACTERS} fit into a message to an "
                "actor. Put large values into a file that the environment reads."
            )

    @property
    def kwargs_json(self) -> str:
        """The keyword arguments as actors are told them."""
        return json.dumps(self.kwargs)


@dataclass(frozen=True)
class CollectConfig:
    """How a batch is collected."""

    batch_steps: int = 2048
    """The minimum batch: the learner sends STOP once it has this many environment steps."""
    envs_per_actor: int = 8
    """Environments that one actor steps."""
    stop_at_episode_end: bool = False
    """Take a batch for full also when an episode has ended in it; actors then report at once when one ends."""
    even_shares: bool = False
    """No actor collects more than its share of batch_steps under one policy: batches are hardly larger than
    batch_steps, which matters where they are tiny, and the slowest actor sets the pace."""
    segment_steps: int = 0
    """Rows of one rollout message (T); 0 derives it from batch_steps and the number of live environments."""
    on_stop: Literal["keep", "drop"] = "keep"
    """What an actor does at STOP with the segment it has begun: ship it, bootstrapped (keep), or throw it away (drop,
    which biases batches towards short episodes and is only here to compare)."""
    stop_grace_seconds: float = 3.0
    """How long the learner waits after STOP for actors that have not answered; then it names them and goes on without
    them."""
    lease_seconds: float = 10.0
    """Silence after which learner and actor give each other up; must exceed the longest environment step."""
    max_rollout_bytes: int = 64 * 2**20
    """Largest rollout message that the learner accepts."""
    max_ingress_bytes: int = 0
    """What all actors together may have sent that the learner has not read yet, or that waits for the next update;
    above it no credit is given, and then the connections that hold most are ended. 0: 256 MiB, more for large batches.
    """
    max_actors: int = 10_000
    """Further ones are told to come back later."""

    def __post_init__(self) -> None:
        _positive("collect", self, "batch_steps", "envs_per_actor", "stop_grace_seconds", "max_rollout_bytes")
        _positive("collect", self, "max_actors")
        _at_least("collect", self, 0, "segment_steps", "max_ingress_bytes")
        _at_least("collect", self, 1.0, "lease_seconds")


@dataclass(frozen=True)
class PpoConfig:
    """The algorithm: PPO with GAE, clipped or with a KL penalty (Schulman et al. 2017, arXiv 1707.06347)."""

    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.95
    """GAE's lambda; 1 gives n-step returns to the end of the segment."""
    reward_offset: float = 0.0
    """Added to every reward that is trained on; reported returns stay what the environment paid."""
    reward_scale: float = 1.0
    """Rewards that are trained on are multiplied by this after the offset: (r + 8) / 8 is offset 8, scale 0.125."""
    terminal_reward: float | None = None
    """Trained on in place of the reward of a step that terminates its episode, before offset and scale."""
    epochs: int = 10
    """Passes over a batch."""
    minibatch_steps: int = 256
    """Steps per optimizer step; a batch is split into nearly equal parts of about this size; 0 takes it whole."""
    learning_rate: float = 3e-4
    """Adam's learning rate at the start."""
    learning_rate_schedule: Literal["constant", "linear", "kl"] = "constant"
    """constant, linear (to 0 at run.total_steps), or kl (x1.5 when the update moved the policy by less than half of
    target_kl, /1.5 when by more than twice of it)."""
    adam_epsilon: float = 1e-5
    """Adam's epsilon: 1e-5 as in the original PPO code, 1e-8 as in Adam's paper and in most libraries."""
    critic_learning_rate: float = 0.0
    """The critic's learning rate, with an Adam and a gradient norm of its own; 0: the policy's. The linear schedule
    moves both, the kl schedule the policy's only."""
    critic_epochs: int = 0
    """Passes that train the critic alone, with its own Adam, after the policy's epochs; 0 trains both in the same ones.
    """
    target_kl: float = 0.01
    """KL(old || new) per update that is aimed at: the kl schedule moves the learning rate by it and kl_penalty its
    coefficient, and the hinge of kl_penalty begins at twice of it. Stops nothing; that is early_stop_kl."""
    early_stop_kl: float = 0.0
    """Stop the epochs (the policy's, where the critic has its own) after one whose mean KL exceeds this; 0 never stops
    early. Each row counts as it was before its own optimizer step, so that with whole batches the stop comes one step
    late. kl_penalty takes the analytic KL, clip an estimate from samples."""
    surrogate: Literal["clip", "kl_penalty"] = "clip"
    """What keeps the new policy near the old one: clip the probability ratio, or add a penalty of kl_coefficient times
    the mean KL(old || new) to the loss."""
    clip_range: float = 0.2
    """clip: clipping of the probability ratio, 1 - clip_range .. 1 + clip_range."""
    clip_schedule: Literal["constant", "linear"] = "constant"
    """linear shrinks clip_range to 0 at run.total_steps."""
    kl_coefficient: float = 0.5
    """kl_penalty: the coefficient at the start. After an update whose KL was above kl_band_high x target_kl it is
    multiplied by kl_factor, after one below kl_band_low x target_kl divided."""
    kl_factor: float = 2.0
    """kl_penalty: by how much the coefficient moves; 1 leaves it alone."""
    kl_band_low: float = 1 / 1.5
    """kl_penalty: below this many times target_kl the coefficient falls."""
    kl_band_high: float = 1.5
    """kl_penalty: above this many times target_kl the coefficient rises."""
    kl_coefficient_min: float = 1e-4
    """kl_penalty: the coefficient falls no further."""
    kl_coefficient_max: float = 10.0
    """kl_penalty: the coefficient rises no further."""
    kl_hinge: float = 0.0
    """kl_penalty: weight of max(0, KL - 2 x target_kl)^2, which is added to the loss; 0 leaves it out."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy bonus."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this global norm; 0 leaves them alone."""
    normalise_advantages: Literal["batch", "minibatch", "none"] = "batch"
    """Over which set advantages get mean 0 and deviation 1."""
    normalise_values: bool = True
    """Train the critic on returns scaled by their running mean and deviation."""

    def __post_init__(self) -> None:
        _positive("ppo", self, "epochs", "learning_rate", "adam_epsilon", "target_kl", "clip_range", "reward_scale")
        _at_least("ppo", self, 0, "early_stop_kl", "entropy_coefficient", "value_coefficient", "max_grad_norm")
        _at_least("ppo", self, 0, "minibatch_steps", "critic_learning_rate", "critic_epochs", "kl_hinge", "kl_band_low")
        _at_least("ppo", self, 0, "kl_coefficient_min")
        _at_least("ppo", self, 1, "kl_factor")
        _ascending("ppo", self, "kl_band_low", "kl_band_high")
        _ascending("ppo", self, "kl_coefficient_min", "kl_coefficient", "kl_coefficient_max")
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"ppo.{name}={getattr(self, name)} is outside 0..1: choose for example 0.99")


@dataclass(frozen=True)
class NetworkConfig:
    """Policy and critic: separate multilayer perceptrons."""

    policy_hidden: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers."""
    critic_hidden: tuple[int, ...] = (64, 64)
    """Widths of the critic's hidden layers."""
    activation: Literal["tanh", "relu", "elu"] = "tanh"
    """Between the layers."""
    initialisation: Literal["orthogonal", "glorot"] = "orthogonal"
    """Weights at the start: orthogonal with gain sqrt 2 (the policy's outputs 0.01), or uniform as Glorot and Bengio,
    which is TensorFlow's way. Biases are 0."""
    mean: Literal["linear", "tanh"] = "linear"
    """The Gaussian's mean: the network's output, or mean_scale times its tanh."""
    mean_scale: float = 1.0
    """Where a tanh mean ends, in the action's units (those of the bounds with action_bounds=rescale)."""
    std: Literal["free", "state"] = "free"
    """The Gaussian's standard deviation: a learned number, the same in every state (free), or an output of the network
    (state: softplus plus std_floor)."""
    std_floor: float = 1e-3
    """Added to a state-dependent deviation, so that densities stay finite."""
    initial_log_std: float = 0.0
    """Log of the Gaussian's standard deviation at the start (continuous actions); -0.3665 is softplus(0)."""
    action_bounds: Literal["clip", "rescale"] = "clip"
    """How a continuous action reaches the environment's bounds: clip it, or map -1..1 onto the bounds and clip. The
    unclipped action is what is stored and trained on, either way."""
    normalise_observations: bool = True
    """Subtract the running mean of observations, divide by their deviation, clip to +-10."""

    def __post_init__(self) -> None:
        _positive("network", self, "mean_scale", "std_floor")
        if self.std == "state" and self.initial_log_std <= math.log(self.std_floor):
            raise UsageError(
                f"network.initial_log_std={self.initial_log_std} starts below network.std_floor={self.std_floor}: "
                f"choose more than {math.log(self.std_floor):.2f}"
            )
        for name in ("policy_hidden", "critic_hidden"):
            if any(width <= 0 for width in getattr(self, name)):
                raise UsageError(
                    f"network.{name}={getattr(self, name)} has a width below 1: choose for example (64, 64)"
                )


@dataclass(frozen=True)
class RunConfig:
    """Where results go and when the run ends."""

    directory: str = ""
    """Run directory; empty means runs/<environment>. A directory with a checkpoint is resumed."""
    seed: int = 1
    """Seeds networks, minibatches, environments and exploration noise."""
    total_steps: int = 1_000_000
    """End after this many environment steps, and the horizon of linear schedules."""
    target_return: float | None = None
    """The mean return of the last `return_window` training episodes that counts as solved."""
    stop_at_target: bool = True
    """End as soon as target_return is reached."""
    return_window: int = 100
    """Episodes in the mean return."""
    checkpoint_seconds: float = 10.0
    """Write a lasting checkpoint at the first update after this long; one is always written at the end."""
    checkpoint_share: float = 0.1
    """After every other update a recent checkpoint is written, without waiting for the disk, so that a killed learner
    loses one update at most; where updates are so short that this would take more than this share of the time, after as
    many of them as it allows. 0: never."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints to keep (the best one is kept besides)."""
    tensorboard: bool = True
    """Write TensorBoard events into the run directory."""
    video_seconds: float = 0.0
    """Film one episode of the newest policy every so many seconds, and once at the end, into videos/ and TensorBoard's
    images; 0: never. A process of lowest priority does it; it needs the environment and its rendering where the learner
    runs."""
    torch_threads: int = 1
    """PyTorch's threads; more only pay for large networks and batches."""
    device: str = "cpu"
    """PyTorch device that trains."""

    def __post_init__(self) -> None:
        _positive("run", self, "total_steps", "return_window", "keep_checkpoints", "torch_threads")
        _at_least("run", self, 0, "seed", "checkpoint_seconds", "checkpoint_share", "video_seconds")


@dataclass(frozen=True)
class LearnerConfig:
    """All settings of a learner process."""

    env: EnvConfig = EnvConfig()
    collect: CollectConfig = CollectConfig()
    ppo: PpoConfig = PpoConfig()
    network: NetworkConfig = NetworkConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        if self.ppo.minibatch_steps > self.collect.batch_steps:
            raise UsageError(
                f"ppo.minibatch_steps={self.ppo.minibatch_steps} exceeds collect.batch_steps="
                f"{self.collect.batch_steps}: "
                "a minibatch cannot be larger than the batch. Lower the one or raise the other."
            )

    @property
    def run_directory(self) -> Path:
        """Where results go: as set, else named after the environment."""
        return Path(self.run.directory or f"runs/{self.env.id.replace('/', '-').replace(':', '-')}")
