"""`dppo learner`: one learner, started by a user, or as a process of a local run."""

import dataclasses
import functools
import logging
import os
import sys

from dppo.learner.group.membership import TORCH_LOG, Membership, check_learners, membership_in
from dppo.learner.storage.settings_history import KeptSettings
from dppo.learner.transport.listener import Listening
from dppo.local.log_files import tracing
from dppo.local.run_comparison import kept_settings, stand
from dppo.local.status_channel import Reports, reports_from_environment
from dppo.protocol.process.quick_imports import quick_imports
from dppo.protocol.trace import Trace
from dppo.settings.commands import LearnerProcessConfig, TrainConfig
from dppo.settings.layers import Resolved, dump_yaml, resolve_file


def run(resolved: Resolved[LearnerProcessConfig], listening: Listening) -> int:
    """Train until the run is over; returns the exit code. Raises DppoError where it cannot start, or fails."""
    place = membership_in(os.environ)
    check_learners(resolved.config.learner, 1 if place is None else place.ranks)
    if place is not None:
        os.environ.setdefault(*TORCH_LOG)  # before torch is imported
    if place is not None and place.local_rank:
        join_file = f"{listening.join_file}-{place.local_rank}" if listening.join_file else ""
        bind, advertise = place.bind_of(listening.bind), place.advertise_of(listening.advertise)
        listening = dataclasses.replace(listening, bind=bind, advertise=advertise, join_file=join_file)
    with tracing(resolved.config.trace, "learner", resolved.config.learner.run_directory) as trace:
        reports = reports_from_environment()
        if reports is not None:
            return _run_for_local_run(resolved.config, listening, reports, trace, place)
        if place is not None and place.rank:
            return _run_beside_rank_0(resolved.config, listening, trace, place)
        with quick_imports():
            from dppo.local.learner_alone import run_alone
        return run_alone(resolved, listening, trace, place)


def _run_for_local_run(
    config: LearnerProcessConfig, listening: Listening, reports: Reports, trace: Trace | None, place: Membership | None
) -> int:
    """Started by `dppo train`, which shows what is reported, and whose settings are those of the run."""
    import dppo.learner.service
    from dppo.learner.hooks import HookError

    is_first = place is None or place.rank == 0  # the others would log the same
    logging.getLogger("dppo").setLevel(logging.INFO if is_first else logging.WARNING)  # others: warnings
    logging.basicConfig(handlers=[reports])
    launch = resolve_file(TrainConfig, os.environ["DPPO_CONFIG"], flags={}).config
    try:
        dppo.learner.service.run(
            config.learner,
            listening=listening,
            settings=functools.partial(kept_settings if is_first else _same_settings, launch),
            observe=reports.show,
            on_signal="end",
            trace=trace,
            place=place,
        )
    except HookError as error:  # the user has seen the traceback; the log, which the error names, has it for later
        print(error.stack, file=sys.stderr, flush=True)
        raise
    return 0


def _same_settings(launch: TrainConfig | LearnerProcessConfig) -> KeptSettings:
    """Return what the directory of a rank that is not the first keeps: rank 0 has compared them."""
    return KeptSettings(dump_yaml(launch))


def _run_beside_rank_0(
    config: LearnerProcessConfig, listening: Listening, trace: Trace | None, place: Membership
) -> int:
    """Train as one of several learners; rank 0 shows and evaluates. Where the run is over there is nothing to do."""
    import dppo.learner.service

    if stand(config).over:
        return 0
    logging.getLogger("dppo").setLevel(logging.WARNING)
    logging.basicConfig(format=f"learner {place.rank}: %(message)s")
    dppo.learner.service.run(
        config.learner,
        listening=listening,
        settings=functools.partial(_same_settings, config),
        observe=lambda status: None,
        trace=trace,
        place=place,
    )
    return 0
