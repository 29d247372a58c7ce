"""The file of a run's evaluations while it trains: one JSON line each. Knows nothing of what is in them."""

from pathlib import Path
from typing import Any

from dppo.learner.telemetry.json_lines import read_objects

EVALUATIONS_FILE = "eval.jsonl"


def lines(directory: Path) -> list[dict[str, Any]]:
    """Return what a run's evaluations have written so far; a line that a kill has torn is left out.

    Raises UsageError where the file cannot be read.
    """
    return [line for line in read_objects(directory / EVALUATIONS_FILE) if "is_best" in line]
