"""`dppo runs`: a table of the runs in a folder. Reads their directories and changes nothing."""

import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from dppo.learner.telemetry.json_lines import json_objects
from dppo.number_text import return_number
from dppo.protocol.errors import UsageError
from dppo.watch.run_list import ROOT, FoundRun, ago, find_runs

TAIL_BYTES = 16_384  # of metrics.jsonl, in which its last line is
PIPE_WIDTH = 200
COLUMNS = ("run", "environment", "state", "steps", "return", "changed")
NUMBERS = ("steps", "return", "changed")
DISPENSABLE = ("environment", "target", "changed")  # what a narrow terminal has no room for, the first one first
STYLES = {"running": "green", "failed": "red", "interrupted": "yellow"}


@dataclass(frozen=True)
class RunsArguments:
    """List the runs in a folder and the folders in it, newest first, with their states, steps and returns."""

    folder: str = str(ROOT)
    """Folder to look in."""
    json: bool = False
    """Print a JSON array."""


def show_runs(chosen: RunsArguments) -> int:
    """Print the list; returns the exit code. Raises UsageError where there is no such folder."""
    folder = Path(chosen.folder)
    if not folder.is_dir() and folder != ROOT:
        raise UsageError(f"there is no folder {folder}: give the one that runs are in, such as {ROOT}")
    found = find_runs(folder)
    records = [_record(run) for run in found]
    if chosen.json:
        print(json.dumps(records, indent=1))
    elif not found:
        print(f"no runs in {folder.absolute()}: `dppo train` makes one")
    else:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
        console.print(_fitting(console, found, records))
    return 0


def newest_metrics(run: Path) -> dict[str, Any]:
    """Read the last whole line of a run's metrics; {} where there is none."""
    with suppress(OSError, ValueError), (run / "metrics.jsonl").open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
        rows = json_objects(file.read(), ("update", "steps"))
        return rows[-1] if rows else {}
    return {}


def _record(run: FoundRun) -> dict[str, Any]:
    metrics = newest_metrics(run.path)
    return {
        "directory": str(run.path),
        "env": run.env,
        "state": run.state,
        "steps": metrics.get("steps", run.steps),
        "updates": metrics.get("update"),
        "mean_return": metrics.get("mean_return"),
        "target_return": metrics.get("target_return"),
        "changed": run.changed,
    }


def _fitting(console: Console, runs: list[FoundRun], records: list[dict[str, Any]]) -> Table:
    """Return the table, on a narrow terminal without what a reader misses least."""
    left_out: tuple[str, ...] = ()
    for one in (*DISPENSABLE, ""):
        table = _table(runs, records, left_out)
        if Measurement.get(console, console.options, table).maximum < console.width:
            break
        left_out = (*left_out, one)
    return table


def _table(runs: list[FoundRun], records: list[dict[str, Any]], left_out: tuple[str, ...]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    names = [name for name in COLUMNS if name not in left_out]
    for name in names:
        is_number = name in NUMBERS
        table.add_column(name, justify="right" if is_number else "left", no_wrap=name != "run", overflow="fold")
    now = time.time()
    for run, record in zip(runs, records, strict=True):
        steps, mean, target = record["steps"], record["mean_return"], record["target_return"]
        of = "" if mean is None or target is None or "target" in left_out else f" of {target:g}"
        cells = {
            "run": Text(str(run.path)),
            "environment": Text(run.env or "unknown"),
            "state": Text(run.state, style=STYLES.get(run.state, "")),
            "steps": Text("" if steps is None else f"{steps:,}"),
            "return": Text("" if mean is None else f"{return_number(mean)}{of}"),
            "changed": Text(ago(now - run.changed)),
        }
        table.add_row(*(cells[name] for name in names))
    return table
