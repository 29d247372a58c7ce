"""summary.json: how a run went, in one record. Pure but for the medians of an earlier start, which are read back."""

import contextlib
import json
from pathlib import Path
from typing import Any

from dppo.learner.config import LearnerConfig
from dppo.learner.storage.progress import Progress
from dppo.learner.telemetry.episode_stats import EpisodeWindow
from dppo.learner.telemetry.status import SUMMARY
from dppo.learner.telemetry.timings import Timings


def summary(
    config: LearnerConfig, progress: Progress, episodes: EpisodeWindow, total: dict[str, Any], *, alone: bool = True
) -> dict[str, Any]:
    """Return the results of a run. total: of its ledger. alone: whether it has one learner."""
    names = (*config.run.metrics, *config.run.step_metrics)
    means = episodes.mean_metrics(names)
    return {
        "env": config.env.id,
        "batch_steps": config.collect.batch_steps,
        "minibatch_steps": config.ppo.minibatch_steps,
        "may_reuse": alone and config.ppo.reuse == 1 and config.may_reuse,
        "seed": config.run.seed,
        "updates": progress.updates,
        "steps": progress.steps,
        "episodes": episodes.total,
        "mean_return": episodes.mean_return,
        "median_return": episodes.median_return,
        "return_outliers": episodes.outliers,
        "outliers": progress.outliers,
        "steps_left_out": progress.steps_left_out,
        "best_mean_return": progress.best_mean_return,
        "best_update": progress.best_update,
        "success_rate": episodes.success_rate,
        "metrics": {name: means.get(name) for name in names},  # the environment's own; null: no episode reports it
        "env_restarts": total["env_restarts"],
        "target_return": config.run.target_return,
        "solved_steps": progress.solved_steps,
        "solved_seconds": progress.solved_seconds,
        "first_step_seconds": progress.first_step_seconds,
        "ledger": total,
    }


def durations(timings: Timings, run_directory: Path) -> dict[str, Any]:
    """Return medians of this start's updates, and the share of the time in which the learner waited for batches.

    If it has trained nothing, those that an earlier start wrote.
    """
    own = {"median_seconds": timings.medians(), "idle_share": timings.idle_share}
    if own["idle_share"] is None:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            before = json.loads((run_directory / SUMMARY).read_bytes())
            return {"median_seconds": dict(before["median_seconds"]), "idle_share": before.get("idle_share")}
    return own
