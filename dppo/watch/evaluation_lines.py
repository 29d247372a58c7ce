"""The file of a run's evaluations while it trains: one JSON line each. Knows nothing of what is in them."""

import json
from pathlib import Path
from typing import Any

EVALUATIONS_FILE = "eval.jsonl"


def lines(directory: Path) -> list[dict[str, Any]]:
    """Return what a run's evaluations have written so far; a line that a kill has torn is left out."""
    try:
        *whole, _ = (directory / EVALUATIONS_FILE).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in whole]
