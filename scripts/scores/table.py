"""Puts measured scores beside published ones: run directories -> benchmarks/scores.json -> the table of docs/scores.md.

python -m scripts.scores.table
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dppo.bench.result_file import write_result
from scripts.scores.measure import FOLDER, SCORE, WAYS
from scripts.scores.tasks import TASKS, Reference, Task

OUTPUT, PAGE = "benchmarks/scores.json", "docs/scores.md"
BEGIN, END = "<!-- written by scripts/scores/table.py -->", "<!-- end of the table -->"
HEAD = (
    "| task | steps | most likely actions | sampled actions | seeds | published | reached |",
    "|---|---|---|---|---|---|---|",
)
STANDARD_ERRORS = 2.0  # of our mean, within which a published one counts as reached

Run = Mapping[str, Any]  # what measure.py writes
Rows = Mapping[str, Sequence[Run]]  # by task


def gathered(before: Rows, folder: Path) -> dict[str, list[Run]]:
    """Return the rows that were there, with those of the run directories in the place of the same task and seed."""
    rows = {task: {run["seed"]: run for run in runs} for task, runs in before.items()}
    for file in sorted(folder.glob(f"*/{SCORE}")):
        run = json.loads(file.read_bytes())
        if not run["overrides"]:  # else another thing than the preset
            rows.setdefault(run["task"], {})[run["seed"]] = run
    return {task: [rows[task][seed] for seed in sorted(rows[task])] for task in TASKS if task in rows}


def table(rows: Rows) -> str:
    """Return the table as Markdown, and below it what it was measured with."""
    lines = [_row(task, runs, TASKS[task]) for task, runs in rows.items()]
    return "\n".join([*HEAD, *lines, "", _conditions([run for runs in rows.values() for run in runs])])


def _conditions(runs: Sequence[Run]) -> str:
    dates = sorted({run["date"] for run in runs})
    found = sorted({f"{name} {number}" for run in runs for name, number in run["versions"].items()}, key=str.lower)
    machines = sorted({f"{run['cores']} cores of {run['cpu']}" for run in runs})
    days = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    return f"Measured {days} on {', '.join(machines)}, with {', '.join(found)}."


def _row(task: str, runs: Sequence[Run], about: Task) -> str:
    found = {way: mean_and_error([run["evaluations"][way] for run in runs]) for way in WAYS}
    size = abs(found["most_likely"][0])
    digits = 3 if size < 1 else 2 if size < 20 else 1
    likely = [f"{run['evaluations']['most_likely']['mean']:,.{digits}f}" for run in runs]
    cells = (
        f"`{task}`",
        f"{max(run['steps'] for run in runs):,}",
        "**{:,.{digits}f}** +- {:,.{digits}f}".format(*found["most_likely"], digits=digits),
        "{:,.{digits}f} +- {:,.{digits}f}".format(*found["sampled"], digits=digits),
        ", ".join(likely) if len(runs) > 1 else "",
        "<br>".join(_published(reference, digits) for reference in about.references),
        "<br>".join(verdict(*found[reference.way], reference, digits) for reference in about.references),
    )
    return f"| {' | '.join(cells)} |"


def mean_and_error(evaluations: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the mean over seeds, and its standard error by the spread of episodes only."""
    count = len(evaluations)
    variance = sum(result["std"] ** 2 / result["episodes"] for result in evaluations) / count**2
    return sum(result["mean"] for result in evaluations) / count, math.sqrt(variance)


def _published(reference: Reference, digits: int) -> str:
    conditions = f" ({reference.conditions})" if reference.conditions else ""
    return f"{reference.score:,.{digits}f} {reference.source}{conditions}"


def verdict(mean: float, error: float, reference: Reference, digits: int) -> str:
    """Return whether a mean reaches a published one, else by how much it is below."""
    missing = reference.score - mean
    return "yes" if missing <= STANDARD_ERRORS * error else f"no, {missing:,.{digits}f} below"


def with_table(page: str, rows: Rows) -> str:
    """Return the page with the table of these rows in it."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", default=FOLDER)
    parser.add_argument("--output", default=OUTPUT)
    parser.add_argument("--page", default=PAGE)
    arguments = parser.parse_args()
    output, page = Path(arguments.output), Path(arguments.page)
    before = json.loads(output.read_bytes())["rows"] if output.exists() else {}
    rows = gathered(before, Path(arguments.directory))
    write_result({"experiment": "scores", "rows": rows}, arguments.output)
    page.write_text(with_table(page.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    main()
