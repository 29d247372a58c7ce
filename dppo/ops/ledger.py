"""`dppo ledger`: where every environment step of a run went, and whether the books close."""

import json
import sys
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from dppo.fitted_text import fitted
from dppo.learner.storage.audit import Audit, audit
from dppo.local.run_summary import ledger_text
from dppo.protocol.account import Account
from dppo.protocol.errors import DppoError
from dppo.watch.run_list import check_run

REASONS = "dropped as"
LIFE = "life"
COLUMNS = ("actor", LIFE, "sealed", "trained", "pending", "in flight", "dropped", REASONS)
ALWAYS = ("actor", "sealed", "trained", "in flight", "dropped")
SHOWN_DIGITS = 8  # of a life's key; --json has all
REASONS_WIDTH = 76  # columns; on fewer only the line below the table has the reasons
PIPE_WIDTH = 200  # of a table that goes to a file or another program


@dataclass(frozen=True)
class LedgerArguments:
    """Check the books of a run: sealed = trained + dropped + in flight, of every actor that ever was in it.

    Exit code 0: they close; 1: they do not, and one line names the first account; 2: there is no such run.
    """

    run: str
    """Run directory, also of a run that is going on."""
    json: bool = False
    """Print JSON."""


def show(arguments: LedgerArguments) -> int:
    """Print the ledger; returns the exit code.

    Raises DppoError where it does not close, UsageError where there is no run.
    """
    found = audit(check_run(arguments.run))
    total = found.ledger.to_state()["total"]
    if arguments.json:
        print(json.dumps(_plain(found), indent=1))
    else:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
        console.print(_table(found, has_reasons=console.width >= REASONS_WIDTH))
        print(fitted(ledger_text(total, found.problems)))
        print(fitted(_sources(found)))
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        raise DppoError(f"the ledger of {arguments.run} does not close: {found.problems[0]}{more}")
    return 0


def _plain(found: Audit) -> dict[str, Any]:
    return {
        "closes": not found.problems,
        "problems": list(found.problems),
        "checkpoint": found.checkpoint,
        "update": found.update,
        "steps": found.steps,
        "journal": {"rollouts": found.replayed.rollouts, "steps": found.replayed.steps},
        **found.ledger.to_state(),
    }


def _sources(found: Audit) -> str:
    base = f"{found.checkpoint} (update {found.update}, {found.steps:,} steps)" if found.checkpoint else "no checkpoint"
    if not found.replayed.rollouts:
        return f"read from {base}; the journal behind it has nothing to add"
    behind = f"{found.replayed.rollouts:,} rollouts ({found.replayed.steps:,} steps) in the journal behind it"
    return f"read from {base} and {behind}; those it had accepted count as learner_crash"


def _table(found: Audit, *, has_reasons: bool) -> Table:
    """Return a row for each account; columns without anything in them are left out, numbers and names never wrapped."""
    ledger, rows = found.ledger, []
    if ledger.closed_incarnations:
        rows.append(_row(f"{ledger.closed_incarnations:,} that ended", "", ledger.closed))
    rows += [_row(account.actor, key.hex()[:SHOWN_DIGITS], account) for key, account in ledger.accounts.items()]
    rows.append(_row("total", "", ledger.total()))
    names = [account.actor for account in ledger.accounts.values()]
    is_ambiguous = len(set(names)) < len(names)  # an actor that was killed may be in it more than once
    shown = [
        column
        for column, name in enumerate(COLUMNS)
        if (has_reasons or name != REASONS)
        and (is_ambiguous if name == LIFE else name in ALWAYS or any(row[column] not in ("", "0") for row in rows))
    ]
    table = Table(box=None)
    for column in shown:
        is_figure = column in range(2, len(COLUMNS) - 1)
        table.add_column(COLUMNS[column], justify="right" if is_figure else "left", no_wrap=COLUMNS[column] != REASONS)
    for row in rows:
        table.add_row(*(row[column] for column in shown), style="bold" if row is rows[-1] else "")
    return table


def _row(name: str, incarnation: str, account: Account) -> tuple[str, ...]:
    figures = (account.sealed, account.trained, account.pending, account.in_flight, account.dropped.total())
    reasons = "\n".join(f"{reason} {steps:,}" for reason, steps in sorted(account.dropped.items()) if steps)
    return (name, incarnation, *(f"{figure:,}" for figure in figures), reasons)
