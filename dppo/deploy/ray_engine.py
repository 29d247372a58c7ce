"""Engine ray: learner and actors on the nodes of a running Ray cluster, which starts again what dies.

Ray places and supervises; data stay on ZeroMQ. Nothing here imports it: ray_driver.py does, in a process of its own,
since Ray ends a process that loses its cluster. Join lines are in no argument, no log and nothing that Ray shows: a Ray
actor asks the learner's for one when it starts.
"""

import contextlib
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from dppo.deploy.engine import Deployment, Plan, Process, Rendered, Report
from dppo.deploy.plans import megabytes, times
from dppo.deploy.records import write_deployment
from dppo.deploy.supervised import SETTINGS, STARTS, STATUS, read_status
from dppo.deploy.tools import run_tool
from dppo.local.log_files import made_logs
from dppo.protocol.errors import UsageError
from dppo.protocol.process.interpreter import SAFE_PATH
from dppo.settings.help_pages import version_text

PLACEMENT = "ray.json"
DRIVER = "dppo.deploy.ray_driver"
START_SECONDS = 180.0  # for the learner to be placed and to listen
ASK_SECONDS = 60.0
END_SECONDS = 180.0  # for actors and learner to end by themselves, one after the other


class ClusterGoneError(UsageError):
    """No cluster is there any more, so none of its actors."""


def render(plan: Plan) -> Rendered:
    """Return the learner's settings, the placement and the driver's command."""
    deploy, learners = plan.deploy, plan.learners
    placement = {
        "address": deploy.ray_address,
        "namespace": plan.name,
        "version": version_text(),
        "directory": deploy.directory or str(plan.directory),
        "learner": _resources(
            max(1, deploy.learner_cpus) * learners,
            times(deploy.learner_memory, learners),
            deploy.learner_gpus * learners,
        ),
        "actor": _resources(deploy.actor_cpus, deploy.actor_memory, 0),
    }
    files = {SETTINGS: plan.settings, PLACEMENT: json.dumps(placement, indent=2) + "\n"}
    return Rendered(files, [_command("submit", str(plan.run))])


def submit(plan: Plan, rendered: Rendered) -> Deployment:
    """Have Ray start the learner, and when it listens the actors: all of them, or none."""
    made_logs(plan.run)
    driver = _command("logs", str(plan.run), "{lines}")
    deployment = Deployment(
        engine="ray",
        name=plan.name,
        run=str(plan.run),
        actors=plan.actors,
        learners=plan.learners,
        submitted=time.time(),
        handle={"bind": plan.bind or f"tcp://0.0.0.0:{plan.deploy.port}", "advertise": plan.advertise},
        logs=driver,
        logs_of_one=[*driver, "{process}"],
    )
    write_deployment(deployment)
    for name in (STATUS, STARTS):  # of an earlier deployment
        (plan.folder / name).unlink(missing_ok=True)
    try:
        said = _run(rendered.commands[0], START_SECONDS)
    except BaseException:  # it has not answered, or Ctrl-C came, and has left what it had started
        if importlib.util.find_spec("ray") is not None:
            with contextlib.suppress(UsageError):
                stop(deployment)
        raise
    _found(said)
    return deployment


def status(deployment: Deployment) -> Report:
    """Ask the Ray actors; those that do not answer are not placed yet, or are being started again."""
    noted = read_status(deployment.folder)
    if noted.over:
        return Report((), noted.over)
    try:
        found = _ask("status", deployment, seconds=ASK_SECONDS)
    except ClusterGoneError as error:
        return Report((), f"its cluster is gone: {error}")
    processes = [msgspec.convert(process, Process) for process in found]
    return Report(processes, "" if processes else "its cluster has none of its actors any more")


def scale(deployment: Deployment, actors: int) -> None:
    """Have Ray start or end actors; those that came last go first."""
    _ask("scale", deployment, str(actors), seconds=END_SECONDS)


def stop(deployment: Deployment) -> None:
    """End all, keep the actors' logs, and have Ray forget them."""
    with contextlib.suppress(ClusterGoneError):
        _ask("stop", deployment, seconds=END_SECONDS)


def _resources(cpus: int, memory: str, gpus: int) -> dict[str, int]:
    """Return the resources as Ray takes them; memory is in bytes."""
    own = {"num_cpus": cpus, "num_gpus": gpus, "memory": megabytes(memory) * 2**20 if memory else 0}
    return {name: value for name, value in own.items() if value or name == "num_cpus"}


def _command(action: str, *arguments: str) -> list[str]:
    return [sys.executable, SAFE_PATH, "-m", DRIVER, action, *arguments]


def _ask(action: str, deployment: Deployment, *arguments: str, seconds: float) -> Any:
    """Run the driver; return its answer. Raises UsageError."""
    return _found(_run(_command(action, deployment.run, *arguments), seconds))


def _run(command: Sequence[str], seconds: float) -> str:
    """Return what the driver prints. Raises UsageError where it does not come to an end of its own."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError("the engine ray needs ray, which is not installed here: pip install 'dppo[ray]'")
    return run_tool(command, seconds=seconds, name="ray")


def _found(said: str) -> Any:
    answer = json.loads(said.splitlines()[-1])
    if "error" in answer:
        raise (ClusterGoneError if answer["gone"] else UsageError)(answer["error"])
    return answer["found"]
