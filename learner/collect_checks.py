"""Combinations of collect.* settings that no run can work with, whatever its spaces. Pure."""

import math
from typing import Literal

from dppo.protocol.errors import UsageError
from dppo.protocol.limits import MAX_ENVS, SEGMENT_BYTES

RuleName = Literal["minimum", "even_shares", "quota", "quorum"]  # collection rules

LEAST_LEASE_SECONDS = 1.5  # four heartbeats, and a busy machine that is late by some tenths of a second
LEAST_GRACE_SECONDS = 0.1
MOST_SECONDS = 1e9  # that fit into messages
MOST_STALENESS = 8  # versions (Hilton et al. 2021, arXiv 2110.00641: what the decoupled objective bears)
MOST_BATCH_STEPS = 2**40
LEAST_CHOSEN_BYTES = 4 * SEGMENT_BYTES  # of max_ingress_bytes: less holds no batch of any spaces
MOST_BYTES = 2**48


def check_times(*, lease_seconds: float, stop_grace_seconds: float) -> None:
    """Raise UsageError where connections or answers would always come too late."""
    if not LEAST_LEASE_SECONDS <= lease_seconds <= MOST_SECONDS:
        raise UsageError(
            f"collect.lease_seconds={lease_seconds:g} must be from {LEAST_LEASE_SECONDS:g} to {MOST_SECONDS:g}: "
            "heartbeats come four times in it, and with less a busy machine would lose its connections again and again"
        )
    if not LEAST_GRACE_SECONDS <= stop_grace_seconds <= MOST_SECONDS:
        raise UsageError(
            f"collect.stop_grace_seconds={stop_grace_seconds:g} must be from {LEAST_GRACE_SECONDS:g} to "
            f"{MOST_SECONDS:g}: to stop takes a step of the environments and a message each way, and what comes "
            "later is dropped"
        )


def check_rule(
    *, rule: RuleName, slots: int, stop_at_episode_end: bool, on_stop: Literal["keep", "drop"] = "keep"
) -> None:
    """Raise UsageError for settings that contradict the rule, or do nothing under it."""
    if rule == "quota" and on_stop == "drop":
        raise UsageError(
            "collect.on_stop=drop throws away what STOP cuts, and under collect.rule=quota it cuts nothing: every "
            "environment makes its whole share. Leave it out"
        )
    if rule in ("quota", "quorum") and stop_at_episode_end:
        raise UsageError(
            f"collect.stop_at_episode_end=true ends a batch with an episode, and with collect.rule={rule} it ends by "
            "the rows of its environments: choose one of them"
        )
    if slots and rule != "quota":
        raise UsageError(f"collect.slots={slots} counts the environments of collect.rule=quota, and the rule is {rule}")
    if slots > MAX_ENVS:
        raise UsageError(f"collect.slots={slots} must be at most {MAX_ENVS}")


def check_staleness(most: int, *, rule: RuleName, on_stop: Literal["keep", "drop"]) -> None:
    """Raise UsageError for a staleness that nothing can correct, or that the rule does not go with."""
    if not 0 <= most <= MOST_STALENESS:
        raise UsageError(
            f"collect.max_staleness={most} must be from 0 to {MOST_STALENESS}: steps that are older help no update"
        )
    if most and rule != "minimum":
        raise UsageError(
            f"collect.max_staleness={most} lets actors go on during updates, and collect.rule={rule} divides a batch "
            "among actors under one policy: take rule minimum, or max_staleness 0"
        )
    if most and on_stop == "drop":
        raise UsageError(
            f"collect.on_stop=drop throws away what STOP cuts, and with collect.max_staleness={most} no batch is ended "
            "by STOP: leave out one"
        )


def check_counts(
    *, batch_steps: int, segment_steps: int, envs_per_actor: int, max_rollout_bytes: int, max_ingress_bytes: int
) -> None:
    """Raise UsageError, with the value that works, where a batch can never be as large as was asked for."""
    if batch_steps > MOST_BATCH_STEPS:
        raise UsageError(f"collect.batch_steps={batch_steps} must be at most {MOST_BATCH_STEPS}")
    if envs_per_actor > MAX_ENVS:
        raise UsageError(
            f"collect.envs_per_actor={envs_per_actor} must be at most {MAX_ENVS}, which is what one actor may have: "
            "start more actors"
        )
    share = math.ceil(batch_steps / envs_per_actor)
    if segment_steps > share:
        raise UsageError(
            f"collect.segment_steps={segment_steps} rows of {envs_per_actor} environments are "
            f"{segment_steps * envs_per_actor} steps, more than a batch (collect.batch_steps={batch_steps}): lower it "
            f"to {share} or less (0 derives it), or raise batch_steps"
        )
    if 0 < max_ingress_bytes < LEAST_CHOSEN_BYTES:
        raise UsageError(
            f"collect.max_ingress_bytes={max_ingress_bytes} holds no batch of any environment: raise it to at least "
            f"{LEAST_CHOSEN_BYTES}, or leave it at 0, which derives it"
        )
    for name, value in (("max_rollout_bytes", max_rollout_bytes), ("max_ingress_bytes", max_ingress_bytes)):
        if value > MOST_BYTES:
            raise UsageError(f"collect.{name}={value} must be at most {MOST_BYTES}")
