"""Checks before a run starts a process or writes a file: packages, device, environment, number of actors."""

from collections.abc import Callable
from contextlib import ExitStack, closing

from dppo.learner.config import LearnerConfig
from dppo.learner.run_config import NCCL, SERVICES
from dppo.local.actor_processes import actors_text
from dppo.local.env_probe import probe
from dppo.local.expected_spaces import expected_spaces
from dppo.local.hooks_check import check_hooks, check_tracker
from dppo.local.known_spaces import known_spaces
from dppo.local.misfits import check_memory_length, check_spaces_before_start
from dppo.local.network_check import NetworkTrial
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.process.resources import lack, room, usable_cores
from dppo.required_packages import FILMING, TRAINING, need
from dppo.settings.commands import TrainConfig
from dppo.watch.evaluation_slots import beyond


def check_before_start(config: TrainConfig, note: Callable[[str], None]) -> None:
    """Raise UsageError where the run could not work on this machine."""
    need([*TRAINING, *(FILMING if config.learner.run.video_seconds else ())])
    if config.actors and not config.force:
        workers = config.learner.collect.envs_per_actor if config.learner.env.vectorization == "async" else 0
        lacking = lack(config.actors, workers, room())
        if lacking:
            fewer = "--actors 0, which is one process" if lacking.endswith(" at most 0 fit") else "fewer --actors"
            raise UsageError(f"{lacking}; choose {fewer}, or --force to try")
    if config.learner.run.hooks:
        check_hooks(config.learner.run.hooks)
    services = config.learner.run.trackers
    need(service for service in services if service in SERVICES)
    for own in (service for service in services if service not in SERVICES):
        check_tracker(own)
    env, device = env_settings(config.learner), config.learner.run.device
    same_as_before = expected_spaces(config.learner, env)
    check_memory_length(config.learner, config.actors)
    known = known_spaces(env)
    if known is not None:
        check_spaces_before_start(config.learner, known)  # before anything is made, for a device
    specs = [] if known is None else [known]
    with ExitStack() as stack:
        trial = stack.enter_context(closing(NetworkTrial(config.learner))) if config.learner.network.own_code else None
        if device != "cpu" or known is None:
            slot = beyond(config.actors * config.learner.collect.envs_per_actor) + 2
            nccl = config.learners if config.learner.run.backend == NCCL else 0
            probe(env, note, device=device, nccl=nccl, slot=slot, found=specs.append)
        for spec in specs[-1:]:
            if same_as_before is not None:
                same_as_before(spec)
            check_spaces_before_start(config.learner, spec)
            if trial is not None:
                trial.finish(spec)
    cores = usable_cores()
    if config.actors > cores:
        note(actors_text(config.actors, cores))


def env_settings(config: LearnerConfig) -> EnvSettings:
    """Return the settings of the environment as an actor gets them."""
    env, run = config.env, config.run
    return EnvSettings(
        env.id,
        env.kwargs_json,
        env.vectorization,
        env.step_timeout_seconds,
        env.wrappers_json,
        run.metrics,
        run.step_metrics,
        env.action_mask,
    )
