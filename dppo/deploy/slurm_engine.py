"""Engine slurm: jobs that Slurm places, and requeues where their node dies. Needs a disk that all nodes share."""

import re
import time
from pathlib import Path

from dppo.deploy import slurm_scripts as scripts
from dppo.deploy.engine import Deployment, Plan, Process, Rendered, Report, State
from dppo.deploy.tools import run_tool, undone_where_it_fails
from dppo.local.log_files import made_logs
from dppo.protocol.errors import DppoError, UsageError

SEPARATOR = "|"
FORMAT = SEPARATOR.join(("%i", "%j", "%T", "%N", "%r"))  # job, name, state, nodes, reason
STATES: dict[str, State] = {"RUNNING": "running", "COMPLETING": "running"}
ELASTIC = "elastic"
END_SECONDS = 120.0  # Slurm's KillWait is 30 s, and nodes report late
LOOK_SECONDS = 0.5
LEARNERS_JOB = "{learner}"  # in the command shown; known once the learner's job is submitted
_PLAIN = re.compile(r"[\w.,:+@-]*")
_ARRAY = re.compile(r"\d+_(\d+)")
_HETEROGENEOUS = re.compile(r"\d+\+(\d+)")


def render(plan: Plan) -> Rendered:
    """Return the job scripts, the learner's settings and the commands of sbatch."""
    for name in ("partition", "account", "time_limit"):
        if not _PLAIN.fullmatch(getattr(plan.deploy, name)):
            raise UsageError(f"deploy.{name}={getattr(plan.deploy, name)!r} is no name that Slurm takes")
    files = {scripts.SETTINGS: plan.settings}
    if plan.deploy.slurm_layout != ELASTIC:
        files[scripts.JOB] = scripts.heterogeneous(plan)
        return Rendered(files, [["sbatch", "--parsable", str(plan.folder / scripts.JOB)]])
    files[scripts.LEARNER] = scripts.elastic_learner(plan)
    files[scripts.ACTORS] = scripts.elastic_actors(plan)
    learner = ["sbatch", "--parsable", str(plan.folder / scripts.LEARNER)]
    return Rendered(
        files, [learner, *([_array(plan.folder, f"0-{plan.actors - 1}", LEARNERS_JOB)] if plan.actors else [])]
    )


def submit(plan: Plan, rendered: Rendered) -> Deployment:
    """Submit the jobs: all of them, or none."""
    if _queue(plan.name):
        raise UsageError(f"you have a job named {plan.name} already: scancel it, or choose another deploy.name")
    made_logs(plan.run)  # Slurm makes no directories
    learner = _job(run_tool(rendered.commands[0]))
    with undone_where_it_fails(["scancel", learner]):
        for command in rendered.commands[1:]:
            run_tool([word.replace(LEARNERS_JOB, learner) for word in command])
    return Deployment(
        engine="slurm",
        name=plan.name,
        run=str(plan.run),
        actors=plan.actors,
        learners=plan.learners,
        submitted=time.time(),
        handle={"learner": learner, "layout": plan.deploy.slurm_layout},
    )


def status(deployment: Deployment) -> Report:
    """Ask for the jobs that are queued or run."""
    jobs = _queue(deployment.name)
    processes = [_process(*job) for job in jobs]
    is_elastic = deployment.handle["layout"] == ELASTIC
    wanted = 1 + (deployment.actors if is_elastic else bool(deployment.actors))  # components of the job
    return Report(processes, "" if jobs else "no job of it is queued", wanted)


def scale(deployment: Deployment, actors: int) -> None:
    """Cancel the actors with the highest numbers, or submit an array of those that are missing."""
    if deployment.handle["layout"] != ELASTIC:
        raise UsageError(
            "a heterogeneous job has the actors that it was submitted with: dppo down, then dppo up with "
            "deploy.slurm_layout=elastic, which can be scaled, or with another number of actors"
        )
    jobs = {
        int(found[1]): job
        for job, name, *_ in _queue(deployment.name)
        if name == f"{deployment.name}-actor" and (found := _ARRAY.fullmatch(job))
    }
    too_many = [job for number, job in jobs.items() if number >= actors]
    if too_many:
        run_tool(["scancel", *too_many])
    missing = [number for number in range(actors) if number not in jobs]
    if missing:
        numbers = ",".join(map(str, missing))
        run_tool(_array(deployment.folder, numbers, deployment.handle["learner"]))


def stop(deployment: Deployment) -> None:
    """Cancel the jobs, by SIGTERM first, so that the learner writes a checkpoint; return when they are gone."""
    deadline = time.monotonic() + END_SECONDS
    jobs = _jobs(deployment.name)
    if jobs:
        run_tool(["scancel", *jobs])  # by number: it takes one name only
    while left := _jobs(deployment.name):
        if time.monotonic() > deadline:
            raise DppoError(f"jobs {', '.join(left)} have not ended after {END_SECONDS:.0f} s: see squeue --me")
        time.sleep(LOOK_SECONDS)


def _array(folder: Path, numbers: str, learner: str) -> list[str]:
    array = ["sbatch", "--parsable", f"--array={numbers}", f"--dependency=after:{learner}"]
    return [*array, str(folder / scripts.ACTORS)]


def _job(said: str) -> str:
    """Return the number of the job that sbatch --parsable has submitted; behind `;` is the cluster."""
    return said.strip().split(";")[0]


def _queue(name: str) -> list[list[str]]:
    """Return the jobs of a deployment: job, name, state, nodes, reason."""
    names = ",".join((name, f"{name}-learner", f"{name}-actor"))
    said = run_tool(["squeue", "--me", "--noheader", "--array", f"--name={names}", f"--format={FORMAT}"])
    return [line.split(SEPARATOR) for line in said.splitlines() if line.count(SEPARATOR) == FORMAT.count(SEPARATOR)]


def _jobs(name: str) -> list[str]:
    """Return the numbers of a deployment's jobs: 12 for the components 12+0 and 12+1, 13_4 in an array."""
    return sorted({job.split("+")[0] for job, *_ in _queue(name)})


def _process(job: str, name: str, state: str, nodes: str, reason: str) -> Process:
    array, group = _ARRAY.fullmatch(job), _HETEROGENEOUS.fullmatch(job)
    if array:
        shown = f"actor-{array[1]}"
    elif group:
        shown = "learner" if group[1] == "0" else "actors"
    else:
        shown = "learner" if name.endswith("-learner") else name
    running = STATES.get(state, "waiting")
    note = "" if running == "running" else f"{state.lower()}: {reason}"
    return Process(shown, running, nodes, note=f"job {job}{f', {note}' if note else ''}")
