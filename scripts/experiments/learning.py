"""Runs in simulated time until a target return: its steps, and the curve up to there."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dppo.learner.config import LearnerConfig
from dppo.learner.telemetry.episode_stats import EpisodeWindow
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import settings_of
from dppo.settings.flags import parse_flags
from dppo.settings.layers import resolve
from scripts.experiments.simulated_run import Seconds, SimulatedRun


class Point(NamedTuple):
    """State of a run after an update."""

    steps: int
    seconds: float  # simulated
    mean_return: float  # of the last episodes; nan before any has ended
    batch_steps: int
    staleness: float = 0.0  # mean of its steps
    update_seconds: float = 0.0  # CPU time of the update, of this machine


class Curve(NamedTuple):
    """One run."""

    points: Sequence[Point]
    solved: Point | None  # the first one at the target

    def return_up_to(self, steps: int) -> float:
        """Mean of the curve over the steps up to there: how well it learned, in one number."""
        return _mean_up_to(steps, [(point.steps, point.mean_return) for point in self.points])

    def return_within(self, seconds: float) -> float:
        """Mean of the curve over the simulated seconds up to there."""
        return _mean_up_to(seconds, [(point.seconds, point.mean_return) for point in self.points])


def _mean_up_to(end: float, points: Sequence[tuple[float, float]]) -> float:
    """Mean of a curve of (steps or seconds, return), from its first return on; nan: it has none up to there."""
    area, width, before = 0.0, 0.0, 0.0
    for at, value in points:
        here = min(at, end)
        if not math.isnan(value):
            area, width = area + value * (here - before), width + here - before
        before = here
    return area / width if width else math.nan


def config_of(env: str, flags: Sequence[str], preset: str = "") -> LearnerConfig:
    """Settings of `dppo train ENV FLAGS`, with its preset."""
    values: Mapping[str, Any] = parse_flags(flags, settings_of(TrainConfig)).values
    return resolve(TrainConfig, flags={**values, "env.id": env}, preset=preset, environ={}).config.learner


def learned(
    config: LearnerConfig,
    divisions: Sequence[int],
    seconds: Seconds,
    *,
    message_seconds: float = 0.0,
    update_step_seconds: float = 0.0,
    stop_at_target: bool = True,
    until_steps: int = 0,
) -> Curve:
    """Train until the target or the end of the run's steps, or until_steps before. divisions: of environments."""
    run = SimulatedRun(
        config, divisions, seconds, message_seconds=message_seconds, update_step_seconds=update_step_seconds
    )
    window, points, solved = EpisodeWindow(config.run.return_window), list[Point](), None
    end = until_steps or config.run.total_steps
    while not (points and points[-1].steps >= end):
        run.publish()
        batch = run.next_batch()
        began = time.process_time()
        report = run.trainer.update(batch, run.version if config.collect.max_staleness else None)
        took = time.process_time() - began
        for segment in (rollout.segment for rollout in batch):
            window.add(segment.episode_returns, segment.episode_lengths, segment.episode_successes)
        size = sum(rollout.segment.steps for rollout in batch)
        mean = window.mean_return
        steps = size + (points[-1].steps if points else 0)
        points.append(Point(steps, run.now, math.nan if mean is None else mean, size, report.staleness_mean, took))
        target = config.run.target_return
        if solved is None and target is not None and window.is_full and mean is not None and mean >= target:
            solved = points[-1]
            if stop_at_target:
                break
    run.close()
    return Curve(points, solved)
