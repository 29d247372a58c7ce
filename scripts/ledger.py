"""`dppo ledger`: where every environment step of a run went, and whether the books close."""

import json
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from learner.audit import Audit, audit
from protocol.errors import DppoError
from protocol.ledger import Account
from scripts.closing import ledger_text
from scripts.run_list import check_run


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
        console = Console(highlight=False)
        console.print(_table(found))
        console.print(ledger_text(total, found.problems), soft_wrap=True)
        console.print(_sources(found), soft_wrap=True)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" * (len(found.problems) > 1)
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


def _table(found: Audit) -> Table:
    table = Table(box=None)
    table.add_column("actor")
    table.add_column("incarnation")
    for name in ("sealed", "trained", "pending", "in flight", "dropped"):
        table.add_column(name, justify="right")
    table.add_column("dropped as")
    ledger = found.ledger
    if ledger.closed_incarnations:
        table.add_row(*_row(f"{ledger.closed_incarnations:,} that ended", "", ledger.closed))
    for key, account in ledger.accounts.items():
        table.add_row(*_row(account.actor, key.hex(), account))
    table.add_row(*_row("total", "", ledger.total()), style="bold")
    return table


def _row(name: str, incarnation: str, account: Account) -> tuple[str, ...]:
    figures = (account.sealed, account.trained, account.pending, account.in_flight, account.dropped.total())
    reasons = ", ".join(f"{reason} {steps:,}" for reason, steps in sorted(account.dropped.items()) if steps)
    return (name, incarnation, *(f"{figure:,}" for figure in figures), reasons)
