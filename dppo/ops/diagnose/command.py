"""The command `dppo diagnose`: prints a line for each finding about a run, changes nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dppo.fitted_text import fitted
from dppo.ops.diagnose import rules
from dppo.ops.diagnose.history import History, read_history
from dppo.ops.doctor.finding import Finding, verdict
from dppo.watch.run_list import check_run

ALL = (rules.learning, rules.exploration, rules.critic, rules.batches, rules.returns, rules.steps, rules.workers)


@dataclass(frozen=True)
class DiagnoseArguments:
    """Name what keeps a run from learning, with the setting to change; also of one that goes on (exit code 1)."""

    run: str
    """Run directory."""
    json: bool = False
    """Print one JSON object instead of lines."""


def diagnose(chosen: DiagnoseArguments) -> int:
    """Print all findings; 1 where something is wrong. Raises UsageError where there is no run."""
    history = read_history(check_run(chosen.run))
    findings = examine(history)
    wrong = [finding for finding in findings if finding.level != "ok"]
    if chosen.json:
        print(json.dumps({"ok": not wrong, "findings": [asdict(finding) for finding in findings]}))
        return verdict(findings)
    for finding in findings:
        print(fitted(finding.line))
    if not wrong and len(history.rows) >= rules.FEW_UPDATES:
        print(fitted(f"nothing is wrong; what the environment itself may do: dppo check {history.config.env.id}"))
    return verdict(findings)


def examine(history: History) -> Sequence[Finding]:
    """All findings about a run; the first says where its time went."""
    return [_time(history), *(finding for rule in ALL for finding in rule(history))]


def _time(history: History) -> Finding:
    parts = {"collecting": "collect_seconds", "updating": "update_seconds", "stopping": "stop_seconds"}
    seconds = {what: float(np.nansum(history.column(name))) for what, name in parts.items()}
    total = sum(seconds.values()) or 1.0
    shares = ", ".join(f"{what} {part / total:.0%}" for what, part in seconds.items())
    steps = float(history.column("steps")[-1])
    few = ", too few to judge" if len(history.rows) < rules.FEW_UPDATES else ""
    means = f"{len(history.rows):,} updates{few}, {steps:,.0f} steps; {shares} of the time"
    return Finding("ok", "run", means)
