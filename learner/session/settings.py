"""Derive a session's settings from the configuration, and check them against the run's spaces."""

import functools
from collections.abc import Callable
from itertools import pairwise

from dppo.learner.batch_memory import machine_bytes, too_large, update_bytes
from dppo.learner.config import LearnerConfig
from dppo.learner.frame_stacks import rollout_spec
from dppo.learner.image_leaves import FEATURES, cnn_weights, images_of
from dppo.learner.option_checks import check_fit
from dppo.learner.session.flow_control import check_sizes
from dppo.learner.session.records import Settings
from dppo.learner.storage.run_directory import RunDirectory, StartIdentity
from dppo.protocol.action_masks import MASK, choices_of, mask_leaf, observed
from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.leaf_paths import Nest
from dppo.protocol.messages import EnvSettings
from dppo.protocol.specs import Spec

MOST_CHOICES = 2**16  # of one leaf of an action
MOST_SPECS = 16  # that are remembered
WEIGHT_COPIES = 8
GATES = {"none": 0, "gru": 3, "lstm": 4}  # of a memory, each with a weight for every feature and number of its own
MOST_GATES = 4  # of a memory of a user's, as a guess
OUTPUT_COPIES = 3


def session_settings(
    config: LearnerConfig, directory: RunDirectory | StartIdentity, lease_seconds: float = 0.0, learners: int = 1
) -> Settings:
    """The session's settings. lease_seconds: 0 as set. learners: that collect together."""
    return Settings(
        run_id=directory.run_id,
        term=directory.term,
        env=EnvSettings(
            config.env.id,
            config.env.kwargs_json,
            "sync" if config.collect.rule == "quota" else config.env.vectorization,
            config.env.step_timeout_seconds,
            config.env.wrappers_json,
            config.run.metrics,
            config.run.step_metrics,
            config.env.action_mask,
        ),
        envs_per_actor=config.collect.envs_per_actor,
        batch_steps=config.collect.batch_steps,
        segment_steps=config.collect.segment_steps,
        seed=config.run.seed,
        on_stop=config.collect.on_stop,
        lease_seconds=lease_seconds or config.collect.lease_seconds,
        stop_grace_seconds=config.collect.stop_grace_seconds,
        max_ingress_bytes=config.collect.max_ingress_bytes,
        max_actors=config.collect.max_actors,
        max_envs_per_actor=config.collect.max_envs_per_actor,
        stop_at_episode_end=config.collect.stop_at_episode_end,
        rule=config.collect.rule,
        slots=config.collect.slots,
        learners=learners,
        late_learners=config.collect.late_learners,
        max_staleness=config.collect.max_staleness,
        max_rollout_bytes=config.collect.max_rollout_bytes,
        former_terms=directory.former_terms,
        why_not_trained=lambda spec: why_not_trained(spec, config),
        rollout_spec=functools.lru_cache(MOST_SPECS)(lambda spec: rollout_spec(spec, config.network)),
    )


def check_spaces(spec: Spec, config: LearnerConfig, warn: Callable[[str], None]) -> None:
    """Raise UsageError, with a value that works, where no batch of these spaces can be collected or trained on.

    Warn of one that will not fit into memory.
    """
    collect = config.collect
    check_fit(spec, config.network, config.ppo)
    check_sizes(
        rollout_spec(spec, config.network),
        batch_steps=collect.batch_steps,
        segment_steps=collect.segment_steps,
        envs=collect.envs_per_actor,
        max_rollout_bytes=collect.max_rollout_bytes,
        max_ingress_bytes=collect.max_ingress_bytes,
    )
    line = too_large(
        spec,
        batch_steps=collect.batch_steps,
        normalises=config.network.normalise_observations,
        images=images_of(spec, config.network),
        batches=config.ppo.reuse,
        there_is=machine_bytes(),
    )
    if line:
        warn(line)


def why_not_trained(spec: Spec, config: LearnerConfig) -> str:
    """Say why spaces that an actor brings cannot be trained on by this learner, "" where they can."""
    if spec.state:
        return "states are not supported: a memory is the policy's, and environments know nothing of it"
    if why := _why_not_acted(spec) or _why_not_masked(spec):  # the latter counts choices, which must not be too many
        return why
    try:
        group = Nest([leaf.name for leaf in observed(spec.observation, spec.mask)]).group
    except ProtocolError as error:
        return str(error)
    if group != "observation":  # the graph has other inputs and outputs, such as noise
        return f"leaves of observations are named observation, or observation.arm and so on, and not {group}"
    for leaf in spec.observation:
        if leaf.kind == "discrete" and leaf.shape:
            return f"{leaf.name}: choices of shape {leaf.shape} are not supported"
    wanted = (*config.run.metrics, *config.run.step_metrics)
    if spec.metrics != wanted:
        return f"metrics {', '.join(spec.metrics) or 'none'} are not those of this run ({', '.join(wanted) or 'none'})"
    try:
        check_spaces(spec, config, lambda line: None)
    except UsageError as error:
        return str(error)
    normalises = config.network.normalise_observations
    images = images_of(spec, config.network)
    batch_steps, batches = config.collect.batch_steps, config.ppo.reuse
    needed = update_bytes(spec, batch_steps=batch_steps, normalises=normalises, images=images, batches=batches)
    needed += network_bytes(spec, config)
    there_is = machine_bytes()
    return (
        f"they take some {needed / 2**30:.1f} GiB here, and there are {there_is / 2**30:.1f}"
        if needed > there_is
        else ""
    )


def _why_not_masked(spec: Spec) -> str:
    """Say which masks no environment gives, "" for all others."""
    for leaf in spec.mask:
        if spec.mask != (mask_leaf(spec.action, leaf.name),):
            size = sum(choices_of(spec.action))
            return f"the mask {leaf.name[:64]} is not one flag for each of the {size} choices of these actions"
        if leaf.name != MASK and not leaf.name.startswith("observation."):
            return f"a mask is named {MASK}, or as a leaf of observations, and not {leaf.name[:64]}"
    return ""


def _why_not_acted(spec: Spec) -> str:
    """Say which actions no space of Gymnasium's has, "" for all others."""
    try:
        Nest([leaf.name for leaf in spec.action])
    except ProtocolError as error:
        return str(error)
    for action in spec.action:
        if action.name.partition(".")[0] != "action":  # the graph has other inputs and outputs, such as log_prob
            return f"{action.name[:64]!r} is no name of an action"
        if action.kind == "box" and action.dtype != "<f4":
            return f"{action.name}: box actions of dtype {action.dtype} are not supported"
        if action.kind == "discrete" and action.shape:
            return f"{action.name}: choices of shape {action.shape} are not supported"
        if action.kind != "box" and action.elements > MOST_CHOICES:
            return f"{action.name}: {action.elements} choices are not supported, at most {MOST_CHOICES} are"
    return ""


def network_bytes(spec: Spec, config: LearnerConfig) -> int:
    """An estimate of weights, gradients, Adam's moments and exported copies, and of a batch's outputs."""
    images = images_of(spec, config.network)
    features = sum(leaf.features for leaf in spec.observation if leaf.name not in images)
    features += sum(FEATURES[cnn] for cnn in images.values())
    choices = [count for leaf in spec.action for count in leaf.choices]  # each has as many outputs as the largest one
    outputs = len(choices) * max(choices, default=0)
    outputs += sum(2 * leaf.elements for leaf in spec.action if leaf.kind == "box")
    network = config.network
    kept = network.memory_width if network.state_size else features
    policy = (kept, *network.policy_hidden, outputs)
    critic = (kept, *network.critic_hidden, 1)
    weights = sum(inputs * units for widths in (policy, critic) for inputs, units in pairwise(widths))
    inputs = features + (2 * network.memory_layers - 1) * network.memory_width  # of all layers, outputs before included
    weights += GATES.get(network.memory, MOST_GATES) * network.memory_width * inputs
    weights += 2 * sum(cnn_weights(leaf, config.network) for leaf in spec.observation)  # the critic may have its own
    return 4 * (
        WEIGHT_COPIES * weights + OUTPUT_COPIES * config.collect.batch_steps * config.ppo.reuse * (outputs + features)
    )
