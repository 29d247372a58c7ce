"""JSON files of experiments that are run piece by piece: rows that are not run again stay. Knows files only."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dppo.bench.result_file import write_result

CHANGES = ("date", "load_before")  # from piece to piece


def write_rows(output: str, about: Mapping[str, Any], rows: Mapping[str, Any]) -> None:
    """Write the rows beside those that the file has, if they are of the same experiment; "" is no file."""
    before: dict[str, Any] = {}
    if output and Path(output).exists():
        before = json.loads(Path(output).read_bytes())
    same = {name: value for name, value in about.items() if name not in CHANGES}
    kept = before.get("rows", {}) if same.items() <= before.items() else {}
    write_result({**about, "rows": {**kept, **rows}}, output)
