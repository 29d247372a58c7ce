"""The state of a run between two updates, as the training thread publishes it for other threads: a frozen record."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dppo.learner.storage.progress import Progress
from dppo.learner.telemetry.episode_stats import EpisodeWindow


@dataclass(frozen=True)
class RunStatus:
    """Replaced as a whole, never changed: a reader in another thread sees one moment."""

    updates: int
    steps: int  # trained
    episodes: int
    mean_return: float | None  # of the last `return_window` training episodes
    median_return: float | None  # of the same episodes, none left out
    return_outliers: int  # how many mean_return leaves out
    outliers: int  # absurd numbers so far
    steps_left_out: int  # of `steps`: not trained on
    success_rate: float | None  # of the same episodes
    first_step_seconds: float | None
    metrics: Mapping[str, float]  # of the newest update, finite; never changed
    run_directory: str = ""
    part_seconds: Mapping[str, float] = field(default_factory=dict)  # of this start, by part of the updates; as metrics


def status_of(
    progress: Progress,
    episodes: EpisodeWindow,
    metrics: dict[str, float],
    run_directory: str,
    part_seconds: Mapping[str, float],
) -> RunStatus:
    """Return the record of this moment."""
    return RunStatus(
        progress.updates,
        progress.steps,
        episodes.total,
        episodes.mean_return,
        episodes.median_return,
        episodes.outliers,
        progress.outliers,
        progress.steps_left_out,
        episodes.success_rate,
        progress.first_step_seconds,
        metrics,
        run_directory,
        part_seconds,
    )
