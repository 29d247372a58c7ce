"""Every setting of a learner, checked when made. Knows names, ranges and defaults; knows no command line and no file.

The text below a field is its help: the command line and docs/settings.md are generated from it.
"""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from dppo.learner.collect_checks import RuleName, check_counts, check_rule, check_staleness, check_times
from dppo.learner.network_config import NetworkConfig
from dppo.learner.ppo_config import PpoConfig
from dppo.learner.run_config import MAY_CHANGE, RunConfig
from dppo.learner.setting_checks import at_least, positive
from dppo.protocol.env_names import check_env_name
from dppo.protocol.env_wrappers import parse_wrappers, refuse_native, wrappers_json
from dppo.protocol.errors import UsageError
from dppo.protocol.mask_sources import check_mask_source
from dppo.protocol.placeholders import check_placeholders

__all__ = [
    "MAY_CHANGE",
    "CollectConfig",
    "EnvConfig",
    "LearnerConfig",
    "NetworkConfig",
    "PpoConfig",
    "RunConfig",
    "settings_by_path",
]

MAX_KWARGS_CHARACTERS = 2048  # dppo.protocol.messages.EnvSettings


@dataclass(frozen=True)
class EnvConfig:
    """The environment that every actor steps."""

    id: str = "CartPole-v1"
    """Gymnasium id; `module:id` imports the module first (for your own environments), `module:name` calls the function
    or class of that name in it, which returns a gymnasium.Env."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments for gymnasium.make, or for the function, for example {"max_episode_steps": 100}. In texts
    {slot}, {column} (sums, as in {5105+slot}) and {actor} stand for whose environment it is; {{ and }} are braces."""
    vectorization: Literal["auto", "sync", "async", "native"] = "auto"
    """How an actor steps several environments: native (the environment's own vector version), sync (one after the
    other), async (one process each); auto takes native where there is one, else sync."""
    wrappers: list[Any] = field(default_factory=list)
    """Wrappers around every environment, the innermost first, in training, evaluation and film alike: [module:Wrapper,
    {gymnasium.wrappers.RescaleAction: {min_action: -1, max_action: 1}}]. Classes derived from gymnasium.Wrapper, as
    module:Class or module.Class; arguments take placeholders as kwargs do. Not with native; auto takes sync then."""
    action_mask: str = "auto"
    """Source of the masks of actions (docs/masks.md): info["action_mask"] (info), action_masks() of the environment
    (method), a leaf of its observations by name, as observation.action_mask; none; auto takes info, else method."""
    step_timeout_seconds: float = field(default=60.0, metadata=MAY_CHANGE)
    """A step, a reset, or the making of an environment that takes longer is hung: its actor reports where, writes the
    stack to its log and ends with code 1, so that its supervisor can start another; 0: wait for ever. In a run
    without actor processes it is only reported."""

    def __post_init__(self) -> None:
        check_env_name(self.id)
        at_least("env", self, 0, "step_timeout_seconds")
        check_mask_source(self.action_mask)
        try:
            length = len(self.kwargs_json) + len(self.wrappers_json) - len("[]")
        except (TypeError, ValueError) as error:
            raise UsageError(f"env.kwargs={self.kwargs} must be plain JSON values: {error}") from None
        check_placeholders(self.kwargs)
        parse_wrappers(self.wrappers)
        if self.wrappers:
            refuse_native(self.vectorization)
        takes = f"env.kwargs and env.wrappers take {length}" if self.wrappers else f"env.kwargs takes {length}"
        if length > MAX_KWARGS_CHARACTERS:
            raise UsageError(
                f"{takes} characters of JSON; {MAX_KWARGS_CHARACTERS} fit into a message to an "
                "actor. Put large values into a file that the environment reads."
            )

    @property
    def kwargs_json(self) -> str:
        """The keyword arguments as actors get them."""
        return json.dumps(self.kwargs).replace("\x7f", "\\u007f")  # the one unprintable character that json leaves

    @property
    def wrappers_json(self) -> str:
        """The wrappers as actors get them."""
        return wrappers_json(self.wrappers)


@dataclass(frozen=True)
class CollectConfig:
    """Collection of a batch."""

    batch_steps: int = 2048
    """The minimum batch: the learner sends STOP once it has this many environment steps."""
    rule: RuleName = "minimum"
    """Choice of the steps that a batch holds (docs/algorithms.md). minimum: those of whichever actors make them.
    even_shares: no actor collects more than its share of batch_steps under one policy; a batch has batch_steps and less
    than one row of all environments more, which matters where batches are tiny, and the slowest actor sets the pace.
    With vectorization sync the result does not depend on how the environments are divided among actors. quota: every
    one of collect.slots environments makes batch_steps / slots rows (rounded up), whichever actor steps it and however
    long it takes, and nothing else counts: each version is the same to the last bit, whatever the actors. quorum: as
    even_shares, and a batch ends once 60 % of the environments have made their share and every other one a quarter of
    it."""
    max_staleness: int = 0
    """Versions by which the policy that made a step may be older than the one that is trained on it, 0 to 8
    (docs/algorithms.md). 0: all actors stop for every update. From 1 on they go on while the learner trains, take the
    newest policy whenever it arrives, and stand still only where what they make would be older. ppo.correction says how
    older steps are weighed."""
    slots: int = 0
    """quota: environments of the run, in all. 0: envs_per_actor times the actors of `dppo train`; `dppo learner` needs
    a number."""
    late_learners: int = 0
    """Several learners (docs/several_learners.md): how many of them a batch may do without (D of DeepMind's W - D).
    A batch ends once all but so many have their share of batch_steps, and what the late ones have is not trained on. 0:
    it ends once all together have batch_steps."""
    envs_per_actor: int = 8
    """Environments that one actor steps."""
    stop_at_episode_end: bool = False
    """Take a batch for full also when an episode has ended in it; actors then report at once when one ends."""
    first_actors: int = field(default=0, metadata=MAY_CHANGE)
    """The first policy is published once so many actors have joined, or after a minute. 0: with the first one; under
    even_shares and quorum `dppo train` waits for all of its actors."""
    segment_steps: int = 0
    """Rows of one rollout message (T), or as many more as make up for resets among them; 0 derives it from batch_steps
    and the number of environments that deliver. Never more than an actor's share of the batch."""
    on_stop: Literal["keep", "drop"] = "keep"
    """Fate of the segment that an actor has begun when the batch is full: shipped, bootstrapped (keep), or thrown away
    (drop, which biases batches towards short episodes and is only here to compare)."""
    stop_grace_seconds: float = field(default=3.0, metadata=MAY_CHANGE)
    """Wait for actors to stop once the batch is full; then the learner names them and goes on without them. An actor
    that was late twice is not waited for until it stops in time again: a step of its environments must be shorter than
    this for it to contribute. At least 0.1."""
    lease_seconds: float = field(default=10.0, metadata=MAY_CHANGE)
    """Silence after which learner and actor give each other up; must exceed the longest environment step. At least
    1.5."""
    max_rollout_bytes: int = field(default=64 * 2**20, metadata=MAY_CHANGE)
    """Largest rollout message that the learner accepts; actors are asked for segments that fit into it."""
    max_ingress_bytes: int = field(default=0, metadata=MAY_CHANGE)
    """What all actors together may have sent that the learner has not read yet, or that waits for the next update;
    at it the batch is trained on as it is, and nothing more is asked for until then; the connections that hold most are
    ended. Less than a batch is refused. 0: 256 MiB, or twice a batch."""
    max_actors: int = field(default=10_000, metadata=MAY_CHANGE)
    """Further ones are told to come back later; an actor that delivers nothing loses its place to them."""
    max_envs_per_actor: int = field(default=4096, metadata=MAY_CHANGE)
    """An actor that brings more environments of its own is refused; envs_per_actor is always allowed."""

    def __post_init__(self) -> None:
        positive("collect", self, "batch_steps", "envs_per_actor", "max_actors", "max_envs_per_actor")
        at_least("collect", self, 1024, "max_rollout_bytes")
        at_least("collect", self, 0, "segment_steps", "max_ingress_bytes", "first_actors", "slots", "late_learners")
        check_rule(rule=self.rule, slots=self.slots, stop_at_episode_end=self.stop_at_episode_end, on_stop=self.on_stop)
        check_staleness(self.max_staleness, rule=self.rule, on_stop=self.on_stop)
        check_times(lease_seconds=self.lease_seconds, stop_grace_seconds=self.stop_grace_seconds)
        check_counts(
            batch_steps=self.batch_steps,
            segment_steps=self.segment_steps,
            envs_per_actor=self.envs_per_actor,
            max_rollout_bytes=self.max_rollout_bytes,
            max_ingress_bytes=self.max_ingress_bytes,
        )


@dataclass(frozen=True)
class LearnerConfig:
    """All settings of a learner process."""

    env: EnvConfig = EnvConfig()
    collect: CollectConfig = CollectConfig()
    ppo: PpoConfig = PpoConfig()
    network: NetworkConfig = NetworkConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        if self.collect.rule == "quota" and self.env.vectorization not in ("auto", "sync"):
            raise UsageError(
                f"env.vectorization={self.env.vectorization}: under collect.rule=quota environments are stepped one "
                "after the other (sync): each has a generator of its own then, and no row is only a reset"
            )
        if self.collect.max_staleness and self.ppo.reuse > 1:
            raise UsageError(
                f"collect.max_staleness={self.collect.max_staleness} mixes steps of several policies in a batch, and "
                f"ppo.reuse={self.ppo.reuse} takes them for those of one: leave out one"
            )
        if self.ppo.reuse > 1 and self.network.memory != "none":
            raise UsageError(
                f"ppo.reuse={self.ppo.reuse} would need states of network.memory={self.network.memory} that the newest "
                "policy never had: leave out one"
            )
        if self.ppo.minibatch_steps > self.collect.batch_steps:
            raise UsageError(
                f"ppo.minibatch_steps={self.ppo.minibatch_steps} exceeds collect.batch_steps="
                f"{self.collect.batch_steps}: "
                "a minibatch cannot be larger than the batch. Lower the one or raise the other."
            )

    @property
    def may_reuse(self) -> bool:
        """Whether `ppo.reuse` may be set beside the other settings."""
        return not self.ppo.against_reuse and self.network.memory == "none" and not self.collect.max_staleness

    @property
    def run_directory(self) -> Path:
        """Return the run directory: as set, else named after the environment."""
        return Path(self.run.directory or f"runs/{self.env.id.replace('/', '-').replace(':', '-')}")


def settings_by_path(config: LearnerConfig) -> dict[str, Any]:
    """Return all settings with their values: {"ppo.gamma": 0.99, ...}."""
    return {
        f"{section.name}.{setting.name}": getattr(part, setting.name)
        for section in fields(config)
        for part in [getattr(config, section.name)]
        for setting in fields(part)
    }
