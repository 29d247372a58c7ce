"""Engine docker: a compose project of the repository's docker-compose.yml and one file that adapts it.

Compose starts again what dies. The join line is in the project's volume `join`, in no file of ours and no argument.
"""

import copy
import json
import os
import time
from pathlib import Path
from typing import Any

import yaml

from dppo.deploy.engine import Deployment, Plan, Process, Rendered, Report, State
from dppo.deploy.kept_logs import MOST_LINES, keep_logs
from dppo.deploy.placement import shares_of
from dppo.deploy.plans import learner_command, refuse_bind, refuse_initial_weights, times
from dppo.deploy.tools import last_line, run_tool, undone_where_it_fails
from dppo.protocol.errors import UsageError

ADAPTED = "compose.yaml"
SETTINGS = "run.yaml"
START_SECONDS = 900.0  # images may have to be built
HEALTHY_SECONDS = 120
LOOK_LINES = 200  # of the log of a learner that did not start
STATES: dict[str, State] = {"running": "running", "exited": "ended", "dead": "ended"}


def render(plan: Plan) -> Rendered:
    """Return the adapting file, the learner's settings and the command of compose."""
    refuse_bind(plan)
    refuse_initial_weights(plan)
    adapted = yaml.safe_dump(_adapted(plan), sort_keys=False, width=120)
    head = f"# of `dppo up`: adapts {plan.deploy.compose_file} to the run {plan.run.name}\n"
    actors = [actor_service(rank) for rank in range(plan.learners)] if plan.actors else []
    services = ["learner", *actors, *(["tensorboard"] if _port(plan) else [])]
    start = ["up", "--detach", "--wait", "--wait-timeout", str(HEALTHY_SECONDS)]
    start += _scale(plan.actors, plan.learners)
    environment = ["env", f"TENSORBOARD_PORT={_port(plan)}"] if _port(plan) else []
    compose = _compose(plan.name, plan.deploy.compose_file, plan.folder)
    return Rendered({ADAPTED: head + adapted, SETTINGS: plan.settings}, [[*environment, *compose, *start, *services]])


def submit(plan: Plan, rendered: Rendered) -> Deployment:
    """Start the project; return once its containers are healthy."""
    compose_file = Path(plan.deploy.compose_file)
    if not compose_file.is_file():
        raise UsageError(
            f"deploy.compose_file={compose_file} is not there: start this in a checkout of dppo, or name the file"
        )
    run_tool(["docker", "compose", "version"])
    compose = _compose(plan.name, str(compose_file.absolute()), plan.folder)
    if json_lines(run_tool([*compose, "ps", "--all", "--format", "json"])):
        raise UsageError(f"there is a compose project {plan.name} already: choose another deploy.name")
    _hand_over(plan)
    with undone_where_it_fails([*compose, "down", "--volumes"]):
        try:
            run_tool(rendered.commands[0], seconds=START_SECONDS)
        except UsageError as error:
            words = _error_in(run_tool([*compose, "logs", "--no-log-prefix", "--tail", str(LOOK_LINES), "learner"]))
            raise UsageError(f"{error}{f'; the learner: {words}' if words else ''}") from None
    return Deployment(
        engine="docker",
        name=plan.name,
        run=str(plan.run),
        actors=plan.actors,
        learners=plan.learners,
        submitted=time.time(),
        handle={"compose_file": str(compose_file.absolute())},
        logs=[*compose, "logs", "--tail", "{lines}"],
        logs_of_one=["docker", "logs", "--tail", "{lines}", f"{plan.name}-{{process}}"],
    )


def status(deployment: Deployment) -> Report:
    """Ask compose for the containers."""
    found = _containers(deployment)
    wanted = [container for container in found if container["Service"].startswith(("learner", "actor"))]
    processes = [
        Process(
            _name(container, deployment.name),
            STATES.get(container["State"], "waiting"),
            note="" if container["State"] == "running" else container.get("Status", ""),
        )
        for container in sorted(wanted, key=lambda container: (container["Service"] != "learner", container["Name"]))
    ]
    learners = [container for container in found if container["Service"] == "learner"]
    if not learners:
        return Report(processes, "its containers are gone")
    over = "the learner has ended" if all(one["State"] in ("exited", "dead") for one in learners) else ""
    return Report(processes, over, wanted=deployment.actors + 1)  # all learners are in one container


def scale(deployment: Deployment, actors: int) -> None:
    """Have compose start or end containers."""
    services = [actor_service(rank) for rank in range(deployment.learners)]
    scaled = ["up", "--detach", "--no-recreate", "--no-deps", *_scale(actors, deployment.learners), *services]
    run_tool([*_of(deployment), *scaled], seconds=START_SECONDS)


def stop(deployment: Deployment) -> None:
    """End and remove the project's containers, network and volume; the run directory stays, with their logs in it."""
    run_tool([*_of(deployment), "stop"], seconds=START_SECONDS)
    containers = [container["Name"] for container in _containers(deployment)]
    ends = ["docker", "logs", "--tail", str(MOST_LINES)]
    keep_logs(deployment, {name.removeprefix(f"{deployment.name}-"): [*ends, name] for name in containers})
    run_tool([*_of(deployment), "down", "--volumes"], seconds=START_SECONDS)


def json_lines(text: str) -> list[dict[str, Any]]:
    """Return the objects that compose prints: one a line, or a list in older releases."""
    found = [json.loads(line) for line in text.splitlines() if line.strip()]
    return found[0] if found and isinstance(found[0], list) else found


def actor_service(rank: int) -> str:
    """Return the name of the service whose containers join that learner."""
    return f"actor-of-{rank}" if rank else "actor"


def _scale(actors: int, learners: int) -> list[str]:
    counts = enumerate(shares_of(actors, learners))
    return [word for rank, count in counts for word in ("--scale", f"{actor_service(rank)}={count}")]


def _hand_over(plan: Plan) -> None:
    """Give what root has made here to the owner of the directory of runs, as whom the learner reads and writes."""
    owner = plan.run.parent.stat() if plan.run.parent.exists() else None
    if os.geteuid() or owner is None or not owner.st_uid:  # root's directory the container gives away as a whole
        return
    for path in (plan.run, plan.folder, plan.folder / SETTINGS):
        if path.exists() and not path.is_symlink():
            os.chown(path, owner.st_uid, owner.st_gid)


def _error_in(log: str) -> str:
    """Return the newest error of ours in a log, else its last line: torchrun writes a stack behind it."""
    errors = [line for line in log.splitlines() if "dppo: error: " in line]
    return last_line(errors[-1] if errors else log)


def _containers(deployment: Deployment) -> list[dict[str, Any]]:
    return json_lines(run_tool([*_of(deployment), "ps", "--all", "--format", "json"]))


def _name(container: dict[str, Any], project: str) -> str:
    name: str = container["Name"].removeprefix(f"{project}-")
    return name


def _of(deployment: Deployment) -> list[str]:
    return _compose(deployment.name, deployment.handle["compose_file"], deployment.folder)


def _compose(project: str, compose_file: str, folder: Path) -> list[str]:
    return ["docker", "compose", "--project-name", project, "--file", compose_file, "--file", str(folder / ADAPTED)]


def _port(plan: Plan) -> int:
    return plan.deploy.tensorboard_port


def _tensorboard(plan: Plan) -> str:
    return f"http://localhost:{_port(plan)}" if _port(plan) else ""


def _adapted(plan: Plan) -> dict[str, Any]:
    runs = {"type": "bind", "source": str(plan.run.parent), "target": "/dppo/runs"}
    settings = {"type": "bind", "source": str(plan.folder / SETTINGS), "target": f"/dppo/{SETTINGS}", "read_only": True}
    deploy, learners = plan.deploy, plan.learners
    command = [*learner_command(learners), "--config", f"/dppo/{SETTINGS}", "--preset", "none"]
    command += ["--run.directory", f"runs/{plan.run.name}", "--bind", "tcp://0.0.0.0:5555"]
    command += ["--advertise", plan.advertise or "learner", "--write-join-file", "/dppo/join/line"]
    host = {"RUNS": str(plan.run.parent), "COMPOSE": "", "TENSORBOARD": _tensorboard(plan)}
    learner: dict[str, Any] = {
        "command": command,
        "environment": {f"DPPO_HOST_{name}": value for name, value in host.items()},  # for what it prints
        "volumes": [runs, settings],
        **_resources(
            deploy.learner_cpus * learners, times(deploy.learner_memory, learners), deploy.learner_gpus * learners
        ),
    }
    actor = _resources(deploy.actor_cpus, deploy.actor_memory, 0)
    if deploy.learner_image:
        learner["image"] = deploy.learner_image
    if deploy.actor_image:
        actor["image"] = deploy.actor_image
    base = {"extends": {"file": str(plan.directory / deploy.compose_file), "service": "actor"}}
    others = {
        actor_service(rank): {
            **base,
            **copy.deepcopy(actor),
            "command": ["dppo", "actor", "--join-file", f"/dppo/join/line-{rank}"],
        }
        for rank in range(1, learners)
    }
    tensorboard = {"volumes": [runs | {"read_only": True}]}
    return {"services": {"learner": learner, "actor": actor, **others, "tensorboard": tensorboard}}


def _resources(cpus: int, memory: str, gpus: int) -> dict[str, Any]:
    limits = {**({"cpus": str(cpus)} if cpus else {}), **({"memory": memory} if memory else {})}
    devices = [{"driver": "nvidia", "count": gpus, "capabilities": ["gpu"]}]
    resources = {
        **({"limits": limits} if limits else {}),
        **({"reservations": {"devices": devices}} if gpus else {}),
    }
    return {"deploy": {"resources": resources}} if resources else {}
