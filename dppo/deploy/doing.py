"""State of a run in words for `dppo ps`, from the status that its learner writes. Knows no engine."""

import time
from dataclasses import replace

import msgspec

from dppo.deploy.engine import Deployment, Process, Report
from dppo.learner.telemetry.status import LAST_PHASE
from dppo.watch.status_file import DatedStatus, read_status

NEWS_SECONDS = 15.0  # status.json is written once a second
LEARNER = "learner"
PHASES = {
    "COLLECTING": "collects",
    "STOPPING": "stops the actors for an update",
    "UPDATING": "trains on a batch",
    "DRAINING": "training is over, actors leave",
    "LEAVING": "ends, and its actors wait for the next learner",
}


def with_doing(deployment: Deployment, report: Report) -> Report:
    """Return the report with what the run does, at its first learner, where that runs and its status is to be had."""
    dated = read_status(deployment.path)
    at = next((at for at, process in enumerate(report.processes) if _is_learner(process)), None)
    if dated is None or at is None or dated.at < deployment.submitted:  # of an earlier start, or on another disk
        return report
    processes = list(report.processes)
    note = processes[at].note
    words = f"{note}; {doing(dated, time.time())}" if note else doing(dated, time.time())
    processes[at] = msgspec.structs.replace(processes[at], note=words)
    return replace(report, processes=processes)


def doing(dated: DatedStatus, now: float) -> str:
    """Return what a learner does, in words."""
    status = dated.status
    if status.phase == LAST_PHASE:
        next_ = dated.afterwards or "it is about to end, or to go on"
        return f"training has ended at {status.steps:,} of {status.total_steps:,} steps; {next_}"
    if now - dated.at > NEWS_SECONDS:
        return f"no news for {now - dated.at:,.0f} s; {status.steps:,} of {status.total_steps:,} steps then"
    waits = f"waits for {status.waiting_for}" if status.waiting_for else ""
    words = PHASES.get(status.phase, "") or waits or "is about to begin"
    more = f", {waits}" if waits and waits != words else ""
    return f"{words}, {status.steps:,} of {status.total_steps:,} steps{more}"


def _is_learner(process: Process) -> bool:
    return process.name.startswith(LEARNER) and process.state == "running"
