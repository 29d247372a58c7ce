"""The command `dppo check`: plays an environment at random, prints a line for each finding, writes nothing."""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict

from dppo.actor.envs.interface import Environments
from dppo.actor.envs.make import make_environments, registered
from dppo.fitted_text import fitted
from dppo.local.preflight import env_settings
from dppo.local.surroundings import kept_surroundings
from dppo.ops.check import repeated_play
from dppo.ops.check.deadline import Deadline, Watched
from dppo.ops.check.judgements import judge
from dppo.ops.check.kept_state import kept_after_reset
from dppo.ops.check.random_play import play
from dppo.ops.check.speed import speed
from dppo.ops.doctor.finding import Finding, verdict
from dppo.protocol.specs import Spec
from dppo.settings.check_arguments import CheckConfig

TRACES = 8  # for which there should be time, of two environments that are made again
FEWEST = 5  # steps, below which a comparison shows nothing
NOT_CLOSED = "Training reports it and goes on, but what it holds may stay."
OTHER_SEED = 1  # further on from the run's
INFORMATION = ("actions are masked by",)  # what notes begin with that report nothing wrong


def check(config: CheckConfig) -> int:
    """Play and print; 1 where something is wrong, else 0. Raises UsageError where it cannot be made."""
    env = config.learner.env
    announcement = f"playing {env.id} at random, for about {config.check_seconds:g} s (--check-seconds) ..."
    ended_like_ctrl_c = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Deadline(env.id, env.step_timeout_seconds or math.inf, announcement) as deadline, kept_surroundings():
            findings = examine(config, deadline)
    finally:
        signal.signal(signal.SIGTERM, ended_like_ctrl_c)
    wrong = sum(finding.level == "error" for finding in findings)
    doubtful = sum(finding.level == "warning" for finding in findings)
    if config.json:
        print(json.dumps({"ok": not wrong, "findings": [asdict(finding) for finding in findings]}))
        return verdict(findings)
    for finding in findings:
        print(fitted(finding.line))
    if not wrong and not doubtful:
        print(f"nothing is wrong: dppo train {config.learner.env.id}")
    else:
        print(", ".join(f"{count} {what}" for count, what in ((wrong, "wrong"), (doubtful, "doubtful")) if count))
    return verdict(findings)


def examine(config: CheckConfig, deadline: Deadline) -> list[Finding]:
    """All findings about the environment that these settings name."""
    settings, seed = env_settings(config.learner), config.learner.run.seed
    notes: dict[str, None] = {}
    not_closed: dict[str, None] = {}

    def make() -> Environments:
        deadline.begin("making it")
        made = make_environments(settings, 1, note=lambda text: notes.setdefault(text))
        deadline.begin("")
        return Watched(made, deadline, lambda text: not_closed.setdefault(text))

    began = time.monotonic()
    until = began + config.check_seconds
    with closing(make()) as environments:
        making_seconds = time.monotonic() - began
        result = play(
            environments,
            seed=seed,
            steps=config.check_steps,
            seconds=config.check_seconds / 2,
            clock=time.monotonic,
        )
        found = [
            Finding("ok", "environment", _spaces_text(environments.spec)),
            *judge(result, config.learner, registered(settings.id).max_episode_steps),
        ]
        if not result.crashes:
            left = until - time.monotonic() - 2 * (making_seconds + result.reset_seconds)
            steps = min(repeated_play.STEPS, int(left / (TRACES * max(result.step_seconds, 1e-9))))
            if steps >= FEWEST:
                found += _repeated(environments, make, seed, steps, lambda: until - time.monotonic())
            else:
                means = (
                    f"not compared: {config.check_seconds:g} s are too short for steps of {result.step_seconds:.2g} s"
                )
                found.append(Finding("ok", "seed", means, "Give more: --check-seconds."))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    noted = [Finding("warning", "spaces", text) for text in notes if not text.startswith(INFORMATION)]
    left_open = [Finding("warning", "close", f"close() failed: {text}", NOT_CLOSED) for text in not_closed]
    return [*found, *noted, *left_open, *speed(result, cores)]


def _spaces_text(spec: Spec) -> str:
    return "; ".join(
        f"{leaf.name} {leaf.kind}{list(leaf.shape)}{' of ' + str(leaf.categories) if leaf.categories else ''}"
        for leaf in spec.leaves
    )


def _repeated(
    used: Environments, make: Callable[[], Environments], seed: int, steps: int, seconds_left: Callable[[], float]
) -> list[Finding]:
    """Findings of playing the same twice. used: an environment that has played before."""
    with closing(make()) as one, closing(make()) as other:
        trace, actions = repeated_play.trace, repeated_play.random_actions
        first = trace(one, seed, actions(seed), steps)
        again = trace(other, seed, actions(seed), steps)
        found = list[Finding]()
        if parted := repeated_play.difference(first, again):
            do = "Draw random numbers from self.np_random, which reset(seed=...) seeds; read no clock, nothing global."
            means = f"decides not everything: {parted} differs between two environments with the same seed and actions"
            found.append(Finding("warning", "seed", means, do))
        elif parted := repeated_play.difference(first, trace(used, seed, actions(seed), steps)):
            found.append(_leak(parted, used, one, seed))
        other_actions = trace(other, seed, actions(seed + OTHER_SEED), steps)
        if not found and first.rewards and repeated_play.difference(first, other_actions) is None:
            means = f"change nothing: other actions give the same {len(first.rewards)} steps"
            found.append(Finding("error", "actions", means, "Is the action handed on to the simulator?"))
        elif not found and (dead := repeated_play.dead_elements(one, seed, steps, seconds_left)):
            means = f"{', '.join(dead)}: from lowest to highest nothing changes in {steps} steps"
            found.append(Finding("warning", "actions", means, "Leave it out, or connect it."))
    return found or [Finding("ok", "seed", "the same seed and actions give the same steps, before and after a reset")]


def _leak(parted: repeated_play.Difference, used: Environments, new: Environments, seed: int) -> Finding:
    """Return what a reset keeps of the episodes before, by name where it is an attribute of the environment."""
    means = f"{parted} differs from a new environment's after the same seed and actions"
    kept = kept_after_reset(used, new, seed)
    if kept is not None and kept.is_order_of_contacts and parted.step:
        means += f"; bodies and first observation are the same: Box2D keeps the order of contacts in self.{kept.world}"
        do = f"Training does not depend on it; for exact repeats, make self.{kept.world} anew in reset()."
        return Finding("ok", "reset", means, do)
    means += f"; after reset(), {kept.shown}" if kept is not None and kept.shown else ""
    return Finding("error", "reset", f"leaks: {means}", "Set everything in reset() that step() changes.")
