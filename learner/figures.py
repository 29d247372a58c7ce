"""The figures of one update, by the names that they have in the curves. Pure."""

import math
from dataclasses import fields
from typing import TYPE_CHECKING

from learner.episodes import EpisodeWindow

if TYPE_CHECKING:
    from learner.update import UpdateReport


def figures(
    report: "UpdateReport", episodes: EpisodeWindow, timing: dict[str, float], target_return: float | None
) -> dict[str, float]:
    """What metrics.jsonl and TensorBoard show of an update; NaN where there is nothing to show. timing: seconds."""
    mean, length = episodes.mean_return, episodes.mean_length
    values = {
        f"update/{figure.name}": float(getattr(report, figure.name))
        for figure in fields(report)
        if figure.name not in ("steps", "ratio_error_by_actor")
    }
    values |= {
        "rollout/mean_return": math.nan if mean is None else mean,
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
    return values
