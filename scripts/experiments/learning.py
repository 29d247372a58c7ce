"""Runs in simulated time until a target return: its steps, and the curve up to there."""

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


class Curve(NamedTuple):
    """One run."""

    points: Sequence[Point]
    solved: Point | None  # the first one at the target

    def return_up_to(self, steps: int) -> float:
        """Mean of the curve over the steps up to there: how well it learned, in one number."""
        area, before = 0.0, 0
        for point in self.points:
            here = min(point.steps, steps)
            if point.mean_return == point.mean_return:
                area += point.mean_return * (here - before)
            before = here
        return area / before


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
    update_seconds: float = 0.0,
    stop_at_target: bool = True,
) -> Curve:
    """Train until the target or the end of the run's steps. divisions: environments of each actor."""
    run = SimulatedRun(config, divisions, seconds, message_seconds=message_seconds, update_seconds=update_seconds)
    window, points, solved = EpisodeWindow(config.run.return_window), list[Point](), None
    while not (points and points[-1].steps >= config.run.total_steps):
        run.publish()
        batch = run.next_batch()
        run.trainer.update(batch)
        for segment in (rollout.segment for rollout in batch):
            window.add(segment.episode_returns, segment.episode_lengths, segment.episode_successes)
        size = sum(rollout.segment.steps for rollout in batch)
        mean = window.mean_return
        steps = size + (points[-1].steps if points else 0)
        points.append(Point(steps, run.now, float("nan") if mean is None else mean, size))
        target = config.run.target_return
        if solved is None and target is not None and window.is_full and mean is not None and mean >= target:
            solved = points[-1]
            if stop_at_target:
                break
    run.close()
    return Curve(points, solved)
