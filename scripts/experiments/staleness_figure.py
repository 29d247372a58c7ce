"""The table and the plot of staleness and its corrections, from the files that the experiment wrote.

    python -m scripts.experiments.staleness_figure benchmarks/staleness-*.json --picture docs/images/staleness.png

Prints Markdown: a row a way, with a column a task by steps and one by simulated seconds.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]  # by way and figure

LOOKS = {"none": ("C0", "o"), "decoupled": ("C1", "s"), "vtrace": ("C2", "^")}
FIGURES = {"return_up_to_steps": "by steps", "return_within_seconds": "by time"}


def cell(found: Mapping[str, Any] | None) -> str:
    """Mean and interval without decimals; "-" where it was not run."""
    return "-" if found is None else f"{found['mean']:,.0f} ({found['low']:,.0f} to {found['high']:,.0f})"


def table(files: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of all ways that any file has."""
    names = sorted({name for file in files for name in file["rows"]}, key=_place)
    heads = [f"{file['env']}, {label}" for file in files for label in FIGURES.values()]
    lines = ["| K | correction | " + " | ".join(heads) + " |", "|---" * (2 + len(heads)) + "|"]
    for name in names:
        staleness, correction = name.split(" ")
        cells = [cell(file["rows"].get(name, {}).get(figure)) for file in files for figure in FIGURES]
        lines.append(f"| {staleness} | {correction} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def series(rows: Rows, correction: str, figure: str) -> list[tuple[int, float, float, float]]:
    """(staleness, mean, low, high) of one correction; it begins with no staleness, where there is none to correct."""
    found = []
    for name in sorted(rows, key=_place):
        staleness, of = name.split(" ")
        if of == correction or staleness == "0":
            values = rows[name][figure]
            found.append((int(staleness), values["mean"], values["low"], values["high"]))
    return found


def draw(files: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a row a task: returns over staleness at equal steps, and at equal time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.6 * len(files)), layout="constrained")
    panels = figure.subplots(len(files), len(FIGURES), squeeze=False, sharey="row")
    for row, file in zip(panels, files, strict=True):
        for axes, (name, label) in zip(row, FIGURES.items(), strict=True):
            for correction, (colour, marker) in LOOKS.items():
                points = series(file["rows"], correction, name)
                places = range(len(points))
                means = [mean for _, mean, _, _ in points]
                errors = [[mean - low for _, mean, low, _ in points], [high - mean for _, mean, _, high in points]]
                axes.errorbar(places, means, errors, color=colour, marker=marker, capsize=3, label=correction)
                axes.set_xticks(places, [str(staleness) for staleness, *_ in points])
            axes.set_title(f"{file['env']}, {label}", fontsize=10)
        row[0].set_ylabel("mean return")
    for axes in panels[-1]:
        axes.set_xlabel("collect.max_staleness")
    panels[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def _place(name: str) -> tuple[int, int]:
    staleness, correction = name.split(" ")
    return int(staleness), list(LOOKS).index(correction)


def main() -> None:
    """Print the table; draw the picture where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path, default=None)
    arguments = parser.parse_args()
    files = [json.loads(path.read_bytes()) for path in arguments.files]
    print(table(files))
    if arguments.picture is not None:
        draw(files, arguments.picture)


if __name__ == "__main__":
    main()
