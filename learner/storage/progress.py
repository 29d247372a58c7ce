"""Progress of a run, and whether it is over. Pure."""

from dataclasses import dataclass

from dppo.learner.config import RunConfig


@dataclass
class Progress:
    """Counters of a run, as they go into checkpoints."""

    updates: int = 0
    version: int = 0
    steps: int = 0  # trained
    trained_seconds: float = 0.0  # of all starts together, up to this one
    outliers: int = 0  # absurd numbers in what was trained on
    steps_left_out: int = 0  # of `steps`: not trained on, because no policy gave them
    solved_steps: int | None = None
    solved_seconds: float | None = None  # as trained_seconds
    solved_return: float | None = None  # the target that was reached then
    first_step_seconds: float | None = None  # of the first start: from its launch to the first accepted rollout
    best_mean_return: float | None = None  # of policy-best.onnx
    best_update: int = 0


def over_because(progress: Progress, run: RunConfig) -> str:
    """Return why a run that has come so far is over, "" if it is not."""
    if run.target_return is not None and run.stop_at_target and is_solved(progress, run.target_return):
        return f"solved: mean return of {run.return_window} episodes reached {run.target_return:g}"
    if progress.steps >= run.total_steps:
        return f"{progress.steps:,} of {run.total_steps:,} steps are done"
    return ""


def is_solved(progress: Progress, target: float) -> bool:
    """Whether the run has reached this target, or a higher one."""
    if progress.solved_steps is None:
        return False
    return progress.solved_return is None or progress.solved_return >= target
