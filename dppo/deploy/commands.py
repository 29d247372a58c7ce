"""`dppo up`, `ps`, `logs`, `scale` and `down`. Knows the records of deployments; engines do the rest."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from dppo.deploy.config import DownArguments, LogsArguments, PsArguments, ScaleArguments, UpConfig
from dppo.deploy.engine import Deployment, Engine, Plan, Process, Rendered, Report
from dppo.deploy.engines import engine_of
from dppo.deploy.plans import plan_of
from dppo.deploy.records import ROOT, deployments, read_deployment, remove_records, write_deployment, write_private
from dppo.deploy.tools import find
from dppo.fitted_text import fitted
from dppo.local.failed_starts import removed_where_it_fails
from dppo.local.launching import checked, placed, show_finished
from dppo.protocol.errors import UsageError
from dppo.settings.commands import LearnerProcessConfig
from dppo.settings.first_line import names_no_environment
from dppo.settings.layers import Resolved

LOGS = "logs"  # in the run directory
DRY_RUN = "dry_run"  # the switch


def up(resolved: Resolved[UpConfig]) -> int:
    """Start a deployment, or print what would be started; returns the exit code. Raises DppoError."""
    if names_no_environment(resolved):  # nobody means a deployment in the background by a bare `dppo up`
        raise UsageError("FILE is missing: dppo up run.yaml, or dppo up --env CartPole-v1; see dppo up --help")
    config = resolved.config
    learner = placed(LearnerProcessConfig(learner=config.learner))
    plan = plan_of(config, learner.learner)
    engine = engine_of(config.deploy.engine)
    rendered = engine.render(plan)
    if DRY_RUN in resolved.switches:
        print(rendered.text(plan.folder))
        return 0
    _refuse_where_it_is_up(plan.run)
    standing = checked(learner)
    if standing.over:
        show_finished(standing)
        return 0
    with removed_where_it_fails(plan.run) as undo:
        try:
            deployment = _submitted(engine, plan, rendered)
        except BaseException as error:
            remove_records(plan.run)
            if not isinstance(error, Exception):  # Ctrl-C, which is no failure
                undo()
            raise
    if resolved.first_line:
        print(fitted(resolved.first_line, sys.stderr), file=sys.stderr, flush=True)
    shown = os.path.relpath(plan.run)
    print(f"{shown} is up on {deployment.engine}: {_count(plan.learners, 'learner')}, {_count(plan.actors, 'actor')}")
    print(f"look: dppo ps {shown}; dppo logs {shown}; more actors: dppo scale {shown} N; end: dppo down {shown}")
    return 0


def _submitted(engine: Engine, plan: Plan, rendered: Rendered) -> Deployment:
    try:
        plan.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{plan.folder} cannot be made: {error.strerror}") from None
    for name, text in rendered.files.items():
        write_private(plan.folder / name, text.encode())
    deployment = engine.submit(plan, rendered)
    write_deployment(deployment)
    return deployment


def ps(chosen: PsArguments) -> int:
    """Print deployments with their processes."""
    found = [_deployment(chosen.run)] if chosen.run else [one for one in deployments() if not one.ended]
    if not found:
        raise UsageError(f"nothing is deployed below {ROOT.absolute()}: dppo up FILE starts a deployment")
    reports = [(one, Report(over="dppo down ended it") if one.ended else _status(one)) for one in found]
    if chosen.json:
        print(msgspec.json.format(msgspec.json.encode([_plain(*pair) for pair in reports])).decode())
        return 0
    for deployment, report in reports:
        print("\n".join(_table(deployment, report)))
    return 0


def logs(chosen: LogsArguments) -> int:
    """Print the ends of logs; returns the exit code."""
    deployment = _chosen(chosen.run)
    if deployment.logs:
        command = deployment.logs_of_one if chosen.process else deployment.logs
        values = {"{lines}": str(chosen.lines), "{process}": chosen.process}
        command = [functools.reduce(lambda text, pair: text.replace(*pair), values.items(), word) for word in command]
        find(command[0])
        command += ["--follow"] if chosen.follow else []
        sys.stdout.flush()
        return subprocess.run(command, stderr=subprocess.STDOUT, check=False).returncode  # what was logged is there
    folder = deployment.path / LOGS
    names = sorted(path.stem for path in folder.glob("*.log"))
    if chosen.process and chosen.process not in names:
        raise UsageError(f"process={chosen.process} has no log: there are {', '.join(names) or 'none yet'}")
    files = [str(folder / f"{name}.log") for name in names if chosen.process in ("", name)]
    if not files:
        raise UsageError(f"there are no logs in {folder} yet")
    command = ["tail", "-n", str(chosen.lines), *(("-F",) if chosen.follow else ()), "--", *files]
    sys.stdout.flush()
    return subprocess.run(command, check=False).returncode


def scale(chosen: ScaleArguments) -> int:
    """Change the number of actors."""
    deployment = _chosen(chosen.run)
    report = _status(deployment)
    if report.over:
        raise UsageError(f"{_shown(deployment)} is over ({report.over}): dppo up starts it again")
    engine_of(deployment.engine).scale(deployment, chosen.actors)
    write_deployment(msgspec.structs.replace(deployment, actors=chosen.actors))
    print(f"{_shown(deployment)}: {deployment.actors} -> {_count(chosen.actors, 'actor')}")
    return 0


def down(chosen: DownArguments) -> int:
    """End a deployment."""
    deployment = _chosen(chosen.run)
    engine_of(deployment.engine).stop(deployment)
    write_deployment(msgspec.structs.replace(deployment, ended=True))
    print(f"{_shown(deployment)} is down; what it has trained is kept: the same dppo up goes on with it")
    return 0


def _refuse_where_it_is_up(run: Path) -> None:
    """Raise UsageError where the run's last deployment still runs."""
    before = read_deployment(run)
    if before is None or before.ended:
        return
    report = _status(before)
    if report.over:
        return
    shown = os.path.relpath(run)
    raise UsageError(
        f"{shown} is up already ({before.engine}, {_count(before.actors, 'actor')}): dppo ps {shown}, "
        f"dppo scale {shown} N, dppo down {shown}"
    )


def _deployment(run: str) -> Deployment:
    found = read_deployment(Path(run))
    if found is None:
        others = ", ".join(_shown(one) for one in deployments()[:3])
        raise UsageError(f"{run} is not deployed{f': there are {others}' if others else ': dppo up FILE does'}")
    return found


def _chosen(run: str) -> Deployment:
    """Return the one deployment that a command is about: the named one, or the only one. Raises UsageError."""
    if run:
        found = _deployment(run)
        if found.ended:
            raise UsageError(f"{run} is down already; its logs: {found.path / LOGS}")
        return found
    there = [one for one in deployments() if not one.ended]
    if not there:
        raise UsageError(f"nothing is deployed below {ROOT.absolute()}: dppo up FILE starts a deployment")
    if len(there) != 1:
        names = ", ".join(_shown(one) for one in there)
        raise UsageError(f"run is missing, and {len(there)} deployments are up below {ROOT}: {names}. Name one")
    return there[0]


def _status(deployment: Deployment) -> Report:
    return engine_of(deployment.engine).status(deployment)


def _shown(deployment: Deployment) -> str:
    return os.path.relpath(deployment.run)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _plain(deployment: Deployment, report: Report) -> dict[str, object]:
    return {"deployment": deployment, "over": report.over, "notes": report.notes, "processes": report.processes}


def _table(deployment: Deployment, report: Report) -> Iterator[str]:
    """Give the lines on one deployment."""
    running = sum(process.state == "running" for process in report.processes)
    wanted = deployment.actors + deployment.learners
    minutes = (time.time() - deployment.submitted) / 60
    state = f"over: {report.over}" if report.over else f"{running} of {wanted} processes run"
    yield f"{_shown(deployment)}  {deployment.engine}, up since {minutes:,.0f} min, {state}"
    yield from (f"  {note}" for note in report.notes)
    yield from _rows(report.processes)


def _rows(processes: Sequence[Process]) -> Iterator[str]:
    width = max((len(process.name) for process in processes), default=0)
    for process in processes:
        restarts = f"restarts {process.restarts}" if process.restarts else ""
        words = (f"{process.name:<{width}}", process.host, process.state, restarts, process.note)
        yield "  " + "  ".join(word for word in words if word)
