"""The command `dppo doctor`: looks, prints a line for each finding, changes nothing."""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from dppo.actor.join_options import JoinOptions
from dppo.ops.doctor.finding import Finding, verdict
from dppo.ops.doctor.machine import machine
from dppo.watch.run_list import check_run


@dataclass(frozen=True)
class DoctorArguments:
    """Check this machine, a run's files, and the way to a learner: what is wrong, and what to do (exit code 1)."""

    run: str = ""
    """Run directory whose keys are checked too."""
    join: str = ""
    """Join line of a learner to reach; - reads it from standard input, and DPPO_JOIN is taken as well."""
    join_file: str = ""
    """File with the join line."""
    learner: str = ""
    """Address of the learner instead of the join line's, or of one that needs none (ipc://...)."""
    json: bool = False
    """Print one JSON object instead of lines."""


def doctor(chosen: DoctorArguments) -> int:
    """Print all findings; 1 where something is wrong. Raises UsageError where the arguments cannot be used."""
    findings = examine(chosen)
    code = verdict(findings)
    if chosen.json:
        print(json.dumps({"ok": code == 0, "findings": [asdict(finding) for finding in findings]}))
        return code
    for finding in findings:
        print(finding.line)
    wrong = sum(finding.level == "error" for finding in findings)
    print("nothing is wrong" if not wrong else f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong")
    return code


def examine(chosen: DoctorArguments) -> list[Finding]:
    """Examine all that the arguments ask for."""
    join = chosen.join or ("" if chosen.join_file else os.environ.get("DPPO_JOIN", ""))
    if join == "-":
        join = sys.stdin.readline().strip()
    is_open = chosen.learner.startswith("tcp://") and not (join or chosen.join_file)
    join_options = None
    if join or chosen.join_file or chosen.learner:
        join_options = JoinOptions(chosen.learner, join, chosen.join_file, insecure=is_open)
    findings = machine(Path(chosen.run or "."))
    if chosen.run:
        from dppo.ops.doctor.run_files import run_files

        findings += run_files(check_run(chosen.run), time.time())
    if join_options is not None:
        from dppo.ops.doctor.reach import reach

        findings += reach(join_options, time.monotonic)
    return findings
