"""The figures of one update, by the names that they have in the curves. Pure."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from dppo.learner.telemetry.episode_stats import EpisodeWindow
from dppo.learner.telemetry.status import OWN_METRICS
from dppo.protocol.specs import Spec

if TYPE_CHECKING:
    from dppo.learner.ppo.epochs import UpdateReport

ENOUGH_EPISODES = 10  # to wonder about a metric that none of them has reported
NO_CURVES = ("steps", "ratio_error_by_actor", "ratio_excess", "ratio_excess_actor", "notes")  # of an UpdateReport


def metrics_of_update(
    report: "UpdateReport",
    episodes: EpisodeWindow,
    timing: dict[str, float],
    target_return: float | None,
    metrics: Sequence[str] = (),
) -> dict[str, float]:
    """Return an update's values for metrics.jsonl and TensorBoard; NaN where there are none.

    timing: seconds. metrics: names of the environment's own.
    """
    mean, median, length = episodes.mean_return, episodes.median_return, episodes.mean_length
    values = {
        f"update/{figure.name}": float(getattr(report, figure.name))
        for figure in fields(report)
        if figure.name not in NO_CURVES
    }
    values |= {
        "rollout/mean_return": math.nan if mean is None else mean,
        "rollout/median_return": math.nan if median is None else median,
        "rollout/return_outliers": float(episodes.outliers),
        "rollout/mean_length": math.nan if length is None else length,
        "rollout/episodes": float(episodes.total),
        "rollout/batch_steps": float(report.steps),
        "time/collect_seconds": timing["collect"],
        "time/update_seconds": timing["update"],
        "time/stop_seconds": timing["stop"],
        "time/policy_seconds": timing["policy"],
        "time/steps_per_second": report.steps / max(1e-9, timing["collect"] + timing["update"]),
    }
    if episodes.success_rate is not None:
        values["rollout/success_rate"] = episodes.success_rate
    if target_return is not None:
        values["rollout/target_return"] = target_return
    means = episodes.mean_metrics(metrics)
    return values | {f"{OWN_METRICS}{name}": means.get(name, math.nan) for name in metrics}


def warnings_of(report: "UpdateReport") -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of each warning in an update's report; a kind is not logged again and again."""
    for kind, text in report.notes:
        if kind == "outlier":
            more = f", and {report.outliers - 1} more like it" if report.outliers > 1 else ""
            text += f"{more}: a glitch of its simulator? Training believes it in part only"
        yield kind, text
    if report.ratio_excess > 1:
        yield (
            "ratio",
            f"probability ratios of the first pass are off by {report.first_pass_ratio_error:.2g}, "
            f"{report.ratio_excess:.2g} times what rounding explains (worst: {report.ratio_excess_actor}): rollouts "
            "and weights do not belong together",
        )


def unreported(episodes: EpisodeWindow, spec: Spec | None, before: int) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of each of the environment's own metrics that none of the run's first episodes has reported.

    before: episodes before this update. Asked once a run: a metric may be rare.
    """
    if spec is None or not before < ENOUGH_EPISODES <= episodes.total:
        return
    for name in sorted(set(spec.metrics) - set(episodes.mean_metrics(spec.metrics))):
        yield (
            f"metric {name}",
            f"none of {episodes.total} episodes has reported {name!r}, which is in run.metrics or run.step_metrics: is "
            "that the name of a number in `info`?",
        )
