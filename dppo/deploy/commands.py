"""`dppo up`, `ps`, `logs`, `scale` and `down`. Knows the records of deployments; engines do the rest."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from dppo.deploy.choosing import named, shown, the_one_up
from dppo.deploy.config import DownArguments, PsArguments, ScaleArguments, UpConfig
from dppo.deploy.doing import with_doing
from dppo.deploy.engine import Deployment, Engine, Plan, Process, Rendered, Report
from dppo.deploy.engines import engine_of
from dppo.deploy.logs_command import logs
from dppo.deploy.plans import plan_of
from dppo.deploy.records import ROOT, deployments, read_deployment, remove_records, write_deployment, write_private
from dppo.fitted_text import fitted
from dppo.local.failed_starts import removed_where_it_fails
from dppo.local.launching import checked, placed, show_finished
from dppo.protocol.errors import UsageError
from dppo.settings.commands import LearnerProcessConfig
from dppo.settings.first_line import names_no_environment
from dppo.settings.layers import Resolved

__all__ = ["down", "logs", "ps", "scale", "up"]

DRY_RUN = "dry_run"  # the switch


def up(resolved: Resolved[UpConfig]) -> int:
    """Start a deployment, or print what would be started; returns the exit code. Raises DppoError."""
    if names_no_environment(resolved):  # a bare `dppo up` is never meant as a deployment
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
    run = shown(deployment)
    print(f"{run} is up on {deployment.engine}: {_count(plan.learners, 'learner')}, {_count(plan.actors, 'actor')}")
    print(fitted(f"look: dppo ps {run}; dppo logs {run}; more actors: dppo scale {run} N; end: dppo down {run}"))
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
    found = [named(chosen.run)] if chosen.run else [one for one in deployments() if not one.ended]
    if not found:
        raise UsageError(f"nothing is deployed below {ROOT.absolute()}: dppo up FILE starts a deployment")
    reports = [
        (one, Report(over="dppo down ended it") if one.ended else with_doing(one, _status(one))) for one in found
    ]
    if chosen.json:
        print(msgspec.json.format(msgspec.json.encode([_plain(*pair) for pair in reports])).decode())
        return 0
    for deployment, report in reports:
        print("\n".join(_table(deployment, report)))
    return 0


def scale(chosen: ScaleArguments) -> int:
    """Change the number of actors."""
    deployment = the_one_up(chosen.run)
    report = _status(deployment)
    if report.over:
        raise UsageError(f"{shown(deployment)} is over ({report.over}): dppo up starts it again")
    if deployment.learners > 1 and chosen.actors < deployment.learners:
        raise UsageError(
            f"actors={chosen.actors} must be at least the {deployment.learners} learners: each has actors of its own"
        )
    engine_of(deployment.engine).scale(deployment, chosen.actors)
    write_deployment(msgspec.structs.replace(deployment, actors=chosen.actors))
    print(f"{shown(deployment)}: {deployment.actors} -> {_count(chosen.actors, 'actor')}")
    return 0


def down(chosen: DownArguments) -> int:
    """End a deployment."""
    deployment = the_one_up(chosen.run)
    engine_of(deployment.engine).stop(deployment)
    write_deployment(msgspec.structs.replace(deployment, ended=True))
    print(f"{shown(deployment)} is down; what it has trained is kept: the same dppo up goes on with it")
    return 0


def _refuse_where_it_is_up(run: Path) -> None:
    """Raise UsageError where the run's last deployment still runs."""
    before = read_deployment(run)
    if before is None or before.ended:
        return
    report = _status(before)
    if report.over:
        return
    name = os.path.relpath(run)
    raise UsageError(
        f"{name} is up already ({before.engine}, {_count(before.actors, 'actor')}): dppo ps {name}, "
        f"dppo scale {name} N, dppo down {name}"
    )


def _status(deployment: Deployment) -> Report:
    return engine_of(deployment.engine).status(deployment)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _plain(deployment: Deployment, report: Report) -> dict[str, object]:
    return {"deployment": deployment, "over": report.over, "notes": report.notes, "processes": report.processes}


def _table(deployment: Deployment, report: Report) -> Iterator[str]:
    """Give the lines on one deployment."""
    running = sum(process.state == "running" for process in report.processes)
    wanted = report.wanted or deployment.actors + deployment.learners
    minutes = (time.time() - deployment.submitted) / 60
    state = f"over: {report.over}" if report.over else f"{running} of {wanted} processes run"
    yield f"{shown(deployment)}  {deployment.engine}, up since {minutes:,.0f} min, {state}"
    yield from (f"  {note}" for note in report.notes)
    yield from _rows(report.processes)


def _rows(processes: Sequence[Process]) -> Iterator[str]:
    width = max((len(process.name) for process in processes), default=0)
    for process in processes:
        restarts = f"restarts {process.restarts}" if process.restarts else ""
        words = (f"{process.name:<{width}}", process.host, process.state, restarts, process.note)
        yield "  " + "  ".join(word for word in words if word)
