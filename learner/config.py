"""Every setting of a learner, checked when made. Knows names, ranges and defaults; knows no command line and no file.

The text below a field is its help: the command line and docs/settings.md are generated from it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from protocol.errors import UsageError


def _positive(section: str, config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise UsageError(f"{section}.{name}={getattr(config, name)} must be above 0")


def _at_least(section: str, config: object, minimum: float, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= minimum:
            raise UsageError(f"{section}.{name}={getattr(config, name)} must be at least {minimum}")


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


@dataclass(frozen=True)
class CollectConfig:
    """How a batch is collected."""

    batch_steps: int = 2048
    """The minimum batch: the learner sends STOP once it has this many environment steps."""
    envs_per_actor: int = 8
    """Environments that one actor steps."""
    segment_steps: int = 0
    """Rows of one rollout message (T); 0 derives it from batch_steps and the number of live environments."""
    on_stop: Literal["keep", "drop"] = "keep"
    """What an actor does at STOP with the segment it has begun: ship it, bootstrapped (keep), or throw it away (drop,
    which biases batches towards short episodes and is only here to compare)."""
    stop_grace_seconds: float = 5.0
    """How long the learner waits after STOP for actors that have not answered."""
    lease_seconds: float = 10.0
    """Silence after which learner and actor give each other up; must exceed the longest environment step."""
    max_rollout_bytes: int = 64 * 2**20
    """Largest rollout message that the learner accepts."""

    def __post_init__(self) -> None:
        _positive("collect", self, "batch_steps", "envs_per_actor", "stop_grace_seconds", "max_rollout_bytes")
        _at_least("collect", self, 0, "segment_steps")
        _at_least("collect", self, 1.0, "lease_seconds")


@dataclass(frozen=True)
class PpoConfig:
    """The algorithm: clipped PPO (Schulman et al. 2017, arXiv 1707.06347) with GAE."""

    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.95
    """GAE's lambda; 1 gives n-step returns to the end of the segment."""
    epochs: int = 10
    """Passes over a batch."""
    minibatch_steps: int = 256
    """Steps per optimizer step; a batch is split into nearly equal parts of about this size."""
    learning_rate: float = 3e-4
    """Adam's learning rate at the start."""
    learning_rate_schedule: Literal["constant", "linear", "kl"] = "constant"
    """constant, linear (to 0 at run.total_steps), or kl (x1.5 when the update moved the policy by less than half of
    target_kl, /1.5 when by more than twice of it)."""
    target_kl: float = 0.01
    """KL(old || new) per update that the kl schedule aims at."""
    early_stop_kl: float = 0.0
    """Stop the epochs of an update once the mean KL exceeds this; 0 never stops early."""
    clip_range: float = 0.2
    """Clipping of the probability ratio: 1 - clip_range .. 1 + clip_range."""
    clip_schedule: Literal["constant", "linear"] = "constant"
    """linear shrinks clip_range to 0 at run.total_steps."""
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
        _positive("ppo", self, "epochs", "minibatch_steps", "learning_rate", "target_kl", "clip_range")
        _at_least("ppo", self, 0, "early_stop_kl", "entropy_coefficient", "value_coefficient", "max_grad_norm")
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
    initial_log_std: float = 0.0
    """Log of the Gaussian's standard deviation at the start (continuous actions; learned, the same in every state)."""
    action_bounds: Literal["clip", "rescale"] = "clip"
    """How a continuous action reaches the environment's bounds: clip it, or map -1..1 onto the bounds and clip. The
    unclipped action is what is stored and trained on, either way."""
    normalise_observations: bool = True
    """Subtract the running mean of observations, divide by their deviation, clip to +-10."""

    def __post_init__(self) -> None:
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
    """Write a checkpoint at the first update after this long; one is always written at the end."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints to keep (the best one is kept besides)."""
    tensorboard: bool = True
    """Write TensorBoard events into the run directory."""
    torch_threads: int = 1
    """PyTorch's threads; more only pay for large networks and batches."""
    device: str = "cpu"
    """PyTorch device that trains."""

    def __post_init__(self) -> None:
        _positive("run", self, "total_steps", "return_window", "keep_checkpoints", "torch_threads")
        _at_least("run", self, 0, "seed", "checkpoint_seconds")


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
