"""What a session needs of the configuration, and whether a run of these spaces can work with it."""

from collections.abc import Callable

from learner.config import LearnerConfig
from learner.intake import check_sizes
from learner.memory import machine_bytes, too_large
from learner.peers import Settings
from learner.run_directory import RunDirectory
from protocol.messages import EnvSettings
from protocol.specs import Spec


def session_settings(config: LearnerConfig, directory: RunDirectory, lease_seconds: float = 0.0) -> Settings:
    """The session's settings. lease_seconds: 0 as set."""
    return Settings(
        run_id=directory.run_id,
        epoch=directory.epoch,
        env=EnvSettings(
            config.env.id, config.env.kwargs_json, config.env.vectorization, config.env.step_timeout_seconds
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
        even_shares=config.collect.even_shares,
        max_rollout_bytes=config.collect.max_rollout_bytes,
        former_epochs=directory.former_epochs,
    )


def check_spaces(spec: Spec, config: LearnerConfig, warn: Callable[[str], None]) -> None:
    """Raise UsageError, with a value that works, where no batch of these spaces can be collected.

    Warn of one that will not fit into memory.
    """
    collect = config.collect
    check_sizes(
        spec,
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
        there_is=machine_bytes(),
    )
    if line:
        warn(line)
