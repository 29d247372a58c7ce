"""Results of a run, read from its directory. Knows files; starts nothing."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dppo.learner.telemetry.json_lines import read_objects
from dppo.learner.telemetry.metrics import METRICS_FILE
from dppo.learner.telemetry.status import SUMMARY
from dppo.local.run_comparison import newest_progress
from dppo.local.run_summary import closing_text, saved_evaluation
from dppo.protocol.errors import DppoError, UsageError
from dppo.watch.episode_results import EvaluationResult
from dppo.watch.policy_files import POLICY_FILE

if TYPE_CHECKING:
    from dppo.api.policy import Policy


NEEDED = {  # of summary.json
    *("env", "reason", "updates", "steps", "episodes", "elapsed_seconds", "mean_return", "success_rate"),
    "solved_steps",
}


@dataclass(frozen=True)
class Result:
    """Result of a run."""

    directory: Path
    env: str
    reason: str  # why it is over
    updates: int
    steps: int
    episodes: int  # that ended in training
    elapsed_seconds: float  # of all starts together
    mean_return: float | None  # of the last episodes in training (run.return_window); None: none has ended
    success_rate: float | None  # of the same; None where the environment does not say
    metrics: Mapping[str, float | None]  # means of run.metrics and run.step_metrics, of the same; None: not reported
    solved_steps: int | None  # when run.target_return was reached; None: not yet
    return_steps: tuple[int, ...] = field(repr=False)  # trained before each of `returns`
    returns: tuple[float, ...] = field(repr=False)  # mean return after each update, from the first ended episode on
    evaluation: EvaluationResult | None  # of the last policy on episodes that it was not trained on; None: skipped
    summary: Mapping[str, Any] = field(repr=False)  # everything in summary.json, the ledger included

    @property
    def policy(self) -> Path:
        """The file with the newest policy, for load_policy, and for onnxruntime alone."""
        return self.directory / POLICY_FILE

    def load_policy(self, *, best: bool = False, seed: int | None = None) -> "Policy":
        """Load the policy of the run's directory, as dppo.load_policy does."""
        from dppo.api.policy import load_policy

        return load_policy(self.directory, best=best, seed=seed)

    def __fspath__(self) -> str:
        return str(self.directory)

    def __str__(self) -> str:
        evaluation = "" if self.evaluation is None else f"\n{self.evaluation.summary()}"
        return f"{closing_text(dict(self.summary))}{evaluation}"


def read_result(directory: Path) -> Result:
    """Read it. Raises DppoError where the summary cannot be read, or is none."""
    try:
        summary: Any = json.loads((directory / SUMMARY).read_bytes())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DppoError(f"how the run went could not be read from {directory / SUMMARY}: {why}") from None
    if not isinstance(summary, dict) or not summary.keys() >= NEEDED:
        lacking = ", ".join(sorted(NEEDED - {*summary})) if isinstance(summary, dict) else "mapping in it"
        raise DppoError(f"how the run went could not be read: {directory / SUMMARY} has no {lacking}")
    steps, returns = _curve(directory)
    evaluation, progress = saved_evaluation(directory), newest_progress(directory)
    is_current = evaluation is not None and progress is not None and evaluation.policy_version == progress.version
    return Result(
        directory=directory,
        env=summary["env"],
        reason=summary["reason"],
        updates=summary["updates"],
        steps=summary["steps"],
        episodes=summary["episodes"],
        elapsed_seconds=summary["elapsed_seconds"],
        mean_return=summary["mean_return"],
        success_rate=summary["success_rate"],
        metrics=summary.get("metrics", {}),  # runs of before have none
        solved_steps=summary["solved_steps"],
        return_steps=steps,
        returns=returns,
        evaluation=evaluation if is_current else None,
        summary=summary,
    )


def _curve(directory: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Steps and mean returns of the updates in metrics.jsonl."""
    rows: list[dict[str, Any]] = []
    with suppress(UsageError):
        rows = read_objects(directory / METRICS_FILE, ("steps", "mean_return"))
    return tuple(row["steps"] for row in rows), tuple(row["mean_return"] for row in rows)
