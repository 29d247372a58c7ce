"""JSON files of experiments that are run piece by piece: rows that are not run again stay. Knows files, and a clock."""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dppo.bench.result_file import write_result
from scripts.experiments.intervals import interval, text_of

CHANGES = ("date", "load_before")  # from piece to piece

Figures = Mapping[str, float | None]  # of one run; None: it has none


def write_rows(output: str, about: Mapping[str, Any], rows: Mapping[str, Any]) -> None:
    """Write the rows beside those that the file has, if they are of the same experiment; "" is no file."""
    write_result({**about, "rows": {**_kept(output, about, "rows"), **rows}}, output)


def write_runs(output: str, about: Mapping[str, Any], name: str, runs: Mapping[int, Figures]) -> dict[str, Any]:
    """Write runs of a row, by seed, beside those that the file has, of other seeds too. Return the row of all seeds."""
    before = _kept(output, about, "runs")
    own: dict[str, Figures] = {**before.get(name, {}), **{str(seed): figures for seed, figures in runs.items()}}
    kept = {**before, name: {seed: own[seed] for seed in sorted(own, key=int)}}
    rows = {each: row_of(list(of_seeds.values())) for each, of_seeds in kept.items()}
    write_result({**about, "rows": rows, "runs": kept}, output)
    return rows[name]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `fill` takes."""
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3, 4, 5])
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no run later than this")
    parser.add_argument("--output", default="", help="runs that this file has are not run again")


def fill(arguments: argparse.Namespace, about: Mapping[str, Any], rows: Mapping[str, Callable[[int], Figures]]) -> None:
    """Run what the file lacks, all rows with one seed before the next; write and print each row as it comes.

    rows: for each row's name what makes the run of a seed.
    """
    ends = time.monotonic() + arguments.seconds
    missing = [
        (seed, name)
        for seed in arguments.seeds
        for name in rows
        if str(seed) not in _kept(arguments.output, about, "runs").get(name, {})
    ]
    for place, (seed, name) in enumerate(missing):
        if time.monotonic() > ends:
            print(f"{len(missing) - place} of {len(missing)} runs are left: the same command goes on with them")
            return
        row = write_runs(arguments.output, about, name, {seed: rows[name](seed)})
        print(line(name, row), flush=True)


def row_of(runs: list[Figures]) -> dict[str, Any]:
    """Return the interval of each figure over the runs that have it, and how many those are; None: no run has it."""
    row: dict[str, Any] = {"seeds": len(runs)}
    for figure in runs[0]:
        found = [value for run in runs if (value := run[figure]) is not None]
        row[figure] = {"of": len(found), **interval(found)} if found else None
    return row


def line(name: str, row: Mapping[str, Any]) -> str:
    """Return one row as text."""
    figures = {figure: found for figure, found in row.items() if figure != "seeds"}
    texts = [f"{figure} {'-' if found is None else text_of(found, 1)}" for figure, found in figures.items()]
    return f"{name:>14} ({row['seeds']} seeds): " + ", ".join(texts)


def _kept(output: str, about: Mapping[str, Any], part: str) -> dict[str, Any]:
    before: dict[str, Any] = {}
    if output and Path(output).exists():
        before = json.loads(Path(output).read_bytes())
    same = {name: value for name, value in about.items() if name not in CHANGES}
    kept: dict[str, Any] = before.get(part, {}) if same.items() <= before.items() else {}
    return kept
