"""The bench's results as a table for people. Knows rich; knows no process."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from scripts.chaos.figures import Outcome

ALWAYS_SHOWN = ("steps trained", "steps dropped")
STYLES = {"passed": "green", "failed": "red", "skipped": "yellow"}


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print one table: a row a figure, a section a fault."""
    table = Table(show_edge=False, pad_edge=False)
    for column in ("fault", "figure", "measured", "pass if", ""):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        verdict = f"[{STYLES[outcome.verdict]}]{outcome.verdict}[/]"
        table.add_row(
            f"[bold]{outcome.fault}[/]", outcome.title, outcome.skipped or f"{outcome.seconds:.0f} s", "", verdict
        )
        if outcome.broken:
            table.add_row("", "broke off", outcome.broken, "", "[red]failed[/]")
        routine = [figure for figure in outcome.figures if figure.routine]
        for figure in [f for f in outcome.figures if not f.routine or not f.passed or f.name in ALWAYS_SHOWN]:
            mark = "" if not figure.limit else "[green]ok[/]" if figure.passed else "[red]failed[/]"
            table.add_row("", figure.name, figure.text(), figure.limit, mark)
        held = sum(figure.passed for figure in routine if figure.limit)
        if held:
            table.add_row("", "routine checks that hold", str(held), "", "[green]ok[/]")
        if outcome.kept:
            table.add_row("", "kept in", outcome.kept, "", "")
        table.add_section()
    console.print(table)
