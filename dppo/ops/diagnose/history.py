"""Records of a run, ready to be judged: a column for each metric, its settings, its ledger. Reads files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dppo.learner.config import LearnerConfig
from dppo.learner.telemetry.json_lines import read_object, read_objects
from dppo.learner.telemetry.metrics import METRICS_FILE
from dppo.learner.telemetry.status import SUMMARY
from dppo.local.run_comparison import recorded_settings
from dppo.protocol.errors import UsageError
from dppo.settings.commands import LearnerProcessConfig
from dppo.settings.fields import build
from dppo.watch.run_list import find_runs

PLACES = ("update", "steps")  # in every line of an update


@dataclass(frozen=True)
class History:
    """A run so far."""

    rows: Sequence[Mapping[str, Any]]  # an update each
    config: LearnerConfig
    ledger: Mapping[str, Any]
    summary: Mapping[str, Any]  # of a finished run, else {}

    def column(self, name: str) -> np.ndarray:
        """Return that metric of every update [n]; NaN where it was not known."""
        values = [row.get(name) for row in self.rows]
        return np.array([value if isinstance(value, int | float) else np.nan for value in values], np.float64)

    def median(self, name: str, share: float = 1.0) -> float:
        """Median over the last `share` of the updates where the metric was known; NaN where it never was."""
        values = self.column(name)[int(len(self.rows) * (1 - share)) :]
        known = values[np.isfinite(values)]
        return float(np.median(known)) if known.size else float("nan")


def read_history(directory: Path) -> History:
    """Read a run's files. Raises UsageError where it has no updates yet."""
    rows = read_objects(directory / METRICS_FILE, PLACES)
    if not rows:
        there = ", ".join(str(found.path) for found in find_runs(directory)[:3])
        why = f"name one of the runs in it: {there}" if there else "a run that has just begun, or none at all"
        raise UsageError(f"{directory} has no metrics.jsonl with an update: {why}")
    settings = recorded_settings(directory, LearnerProcessConfig)
    learner = build(LearnerProcessConfig, settings).learner
    return History(rows, learner, read_object(directory / "ledger.json"), read_object(directory / SUMMARY))
