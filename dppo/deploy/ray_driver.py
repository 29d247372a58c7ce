"""One command's part with a Ray cluster: `python -m dppo.deploy.ray_driver ACTION RUN ...`, started by ray_engine.py.

A process of its own, since Ray ends a process that loses its cluster, and prints what it likes. Standard output has one
JSON line: {"found": ...} or {"error": "..."}; of the action `logs` it has logs.
"""

import contextlib
import importlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dppo.deploy.engine import Deployment
from dppo.deploy.kept_logs import logs_of
from dppo.deploy.log_ends import added_to, end_of
from dppo.deploy.ray_workers import LEARNER, HeldActor, HeldLearners
from dppo.deploy.records import read_deployment
from dppo.local.log_files import made_logs
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.texts import printable

PLACEMENT = "ray.json"
CONNECT_SECONDS = 5.0
ASK_SECONDS = 10.0
LISTEN_SECONDS = 120.0  # for the learner to be placed and to listen
LOOK_SECONDS = 0.5
ACTORS_END_SECONDS = 20.0
LEARNERS_END_SECONDS = 60.0
FOLLOW_SECONDS = 1.0
MAX_WORDS = 300
KEPT_LINES = 100_000  # of an actor's log


class GoneError(UsageError):
    """No cluster is there any more, so none of its actors."""


class Cluster:
    """The Ray actors of one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        """Connect. Raises UsageError where there is no such cluster, or this machine is no node of it."""
        self.deployment = deployment
        self.placement: dict[str, Any] = json.loads((deployment.folder / PLACEMENT).read_bytes())
        self.namespace: str = self.placement["namespace"]
        self.ray: Any = connected(self.placement["address"], self.namespace)

    def names(self) -> list[str]:
        """Return the names of all there are, the learner first, then actors by number."""
        found: list[str] = self.ray.util.list_named_actors()
        return sorted(found, key=lambda name: (name != LEARNER, len(name), name))

    def get(self, name: str) -> Any:
        """Return a Ray actor; None where there is none."""
        try:
            return self.ray.get_actor(name)
        except ValueError:
            return None

    def ask(self, asked: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Return the answers, by name, of those that answer in time; an error is one."""
        if not asked:
            return {}
        there, _ = self.ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
        found = {}
        for name, question in asked.items():
            if question in there:
                try:
                    found[name] = self.ray.get(question)
                except self.ray.exceptions.RayError as error:
                    found[name] = error
        return found

    def start(self, held: type, name: str, arguments: Sequence[Any], **options: Any) -> Any:
        """Have Ray start one, and start it again whenever it dies, on whichever node its process is."""
        made = self.ray.remote(held).options(
            name=name, lifetime="detached", max_restarts=-1, max_task_retries=-1, max_concurrency=8, **options
        )
        return made.remote(*arguments)

    def start_actor(self, number: int) -> None:
        """Have Ray start an actor, on the node with the fewest."""
        name, placement = f"actor-{number}", self.placement
        arguments = (name, self.namespace, placement["directory"], placement["version"])
        self.start(HeldActor, name, arguments, scheduling_strategy="SPREAD", **placement["actor"])

    def start_learners(self) -> Any:
        """Have Ray start the learners, on this node, which has the run directory."""
        here = self.ray.get_runtime_context().get_node_id()
        strategies: Any = importlib.import_module("ray.util.scheduling_strategies")
        strategy = strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        arguments = (str(self.deployment.path),)
        return self.start(HeldLearners, LEARNER, arguments, scheduling_strategy=strategy, **self.placement["learner"])

    def end(self, names: Sequence[str], seconds: float) -> None:
        """End what these hold, keep the logs of actors, and have Ray forget them."""
        handles = {name: handle for name in names if (handle := self.get(name)) is not None}
        self.ask({name: handle.end.remote() for name, handle in handles.items()}, seconds)
        logs = {name: handle.log.remote(-1, KEPT_LINES) for name, handle in handles.items() if name != LEARNER}
        for name, found in self.ask(logs, ASK_SECONDS).items():
            if not isinstance(found, Exception):
                with contextlib.suppress(OSError):
                    (made_logs(self.deployment.path) / f"{name}.log").write_text(found[0])
        for handle in handles.values():
            self.ray.kill(handle, no_restart=True)


def connected(address: str, namespace: str) -> Any:
    """Return Ray, connected. Raises UsageError."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except ConnectionRefusedError:
            raise GoneError(
                f"deploy.ray_address={address}: no Ray cluster answers there, the connection is refused"
            ) from None
        except (OSError, OverflowError) as error:
            raise UsageError(f"deploy.ray_address={address} cannot be reached: {error}") from None
        os.environ["RAY_ADDRESS"] = address
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray: Any = importlib.import_module("ray")
    try:
        ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level="CRITICAL")
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        why = "no Ray cluster runs on this machine" if address == "auto" else f"{address} has no node on this machine"
        words = printable(str(error).strip().splitlines()[0])[:MAX_WORDS] if str(error).strip() else ""
        kind = GoneError if address == "auto" and isinstance(error, ConnectionError) else UsageError
        raise kind(
            f"{why}: `ray start --head` makes it the first node of one, `ray start --address HEAD:6379` a further "
            f"one ({words})"
        ) from None
    return ray


def submit(cluster: Cluster) -> None:
    """Start the learners, and once they listen the actors: all of them, or none."""
    if cluster.get(LEARNER) is not None:
        raise UsageError(f"the cluster has a deployment {cluster.namespace} already: choose another deploy.name")
    check_room(cluster)
    try:
        learner = cluster.start_learners()
        deadline = time.monotonic() + LISTEN_SECONDS
        while not _listens(cluster, learner):
            if time.monotonic() > deadline:
                raise UsageError(
                    f"the learner has not listened after {LISTEN_SECONDS:.0f} s: see logs/learner.log, and "
                    "`ray status` for cores that this node has free"
                )
            time.sleep(LOOK_SECONDS)
        for number in range(cluster.deployment.actors):
            cluster.start_actor(number)
    except BaseException:
        stop(cluster)
        raise


def check_room(cluster: Cluster) -> None:
    """Raise UsageError where the cluster has too few cores or GPUs free."""
    ray, learner, actor = cluster.ray, cluster.placement["learner"], cluster.placement["actor"]
    free, actors = ray.available_resources(), cluster.deployment.actors
    for resource, option, what in (("CPU", "num_cpus", "cores"), ("GPU", "num_gpus", "GPUs")):
        one, each = learner.get(option, 0), actor.get(option, 0)
        if one + actors * each > free.get(resource, 0):
            raise UsageError(
                f"the cluster has {free.get(resource, 0):g} {what} free, and {one} for the learner and {actors} x "
                f"{each} for actors are wanted: fewer actors, --deploy.actor-cpus 0, or more nodes"
            )
    here = ray.get_runtime_context().get_node_id()
    own: dict[str, float] = next((node["Resources"] for node in ray.nodes() if node["NodeID"] == here), {})
    if own.get("CPU", 0) < learner["num_cpus"] or own.get("GPU", 0) < learner.get("num_gpus", 0):
        raise UsageError(
            f"this node has {own.get('CPU', 0):g} cores and {own.get('GPU', 0):g} GPUs, and the learner, which runs on "
            f"it, wants {learner['num_cpus']} and {learner.get('num_gpus', 0)}"
        )


def _listens(cluster: Cluster, learner: Any) -> bool:
    """Whether the learners listen. Raises DppoError where they have ended."""
    found = cluster.ask({LEARNER: learner.report.remote()}, LOOK_SECONDS).get(LEARNER)
    if isinstance(found, Exception):
        raise UsageError(f"Ray could not start the learner: {_words(found)}")
    if found and found["over"]:
        kind = UsageError if found["code"] == UsageError.exit_code else DppoError
        raise kind(found["over"])
    return bool(found and found["listens"])


def status(cluster: Cluster) -> list[dict[str, Any]]:
    """Return all processes, those that do not answer too."""
    names = cluster.names()
    handles = {name: handle for name in names if (handle := cluster.get(name)) is not None}
    asked = {name: handle.report.remote() for name, handle in handles.items()}
    learner = handles.get(LEARNER)
    again = {} if learner is None else {name: learner.again.remote(name) for name in names if name != LEARNER}
    reports = cluster.ask(asked, ASK_SECONDS)
    restarts = cluster.ask(again, 1.0)
    found: list[dict[str, Any]] = []
    for name in names:
        report = reports.get(name)
        if report is None or isinstance(report, Exception):
            note = _words(report) if report else "not placed yet, or being started again: `ray status` shows free cores"
            report = {"processes": [{"name": name, "state": "waiting", "note": note}]}
        count = restarts.get(name, 0)
        own = {} if name == LEARNER or isinstance(count, Exception) else {"restarts": count}
        found += [process | own for process in report["processes"]]
    return found


def scale(cluster: Cluster, actors: str) -> None:
    """Have so many actors."""
    names, wanted = cluster.names(), [f"actor-{number}" for number in range(int(actors))]
    cluster.end([name for name in names if name != LEARNER and name not in wanted], ACTORS_END_SECONDS)
    for number, name in enumerate(wanted):
        if name not in names:
            cluster.start_actor(number)


def stop(cluster: Cluster) -> None:
    """End the actors, then the learners, which write a checkpoint."""
    names = cluster.names()
    cluster.end([name for name in names if name != LEARNER], ACTORS_END_SECONDS)
    cluster.end([name for name in names if name == LEARNER], LEARNERS_END_SECONDS)


def logs(cluster: Cluster, write: Callable[[str], None], lines: str, *rest: str) -> None:
    """Write the ends of all logs, or of one; with --follow also what is added, until this process is ended."""
    chosen = next((word for word in rest if word != "--follow"), "")
    here = {path.stem: path for path in sorted(logs_of(cluster.deployment).glob("*.log"))}
    names = [name for name in (*here, *(name for name in cluster.names() if name not in here)) if chosen in ("", name)]
    if not names:
        raise UsageError(f"process={chosen} has no log: there are {', '.join([*here, *cluster.names()])}")
    ends = dict.fromkeys(names, -1)
    while True:
        for name in names:
            text, ends[name] = _log(cluster, here, name, ends[name], int(lines))
            if text:
                write(f"==> {name} <==\n{text}" if len(names) > 1 else text)
        if "--follow" not in rest:
            return
        time.sleep(FOLLOW_SECONDS)


def _log(cluster: Cluster, here: dict[str, Path], name: str, since: int, lines: int) -> tuple[str, int]:
    handle = None if name.startswith(LEARNER) else cluster.get(name)
    if handle is None:
        if name not in here:
            return "", since
        return end_of(here[name], lines) if since < 0 else added_to(here[name], since)
    found = cluster.ask({name: handle.log.remote(since, lines)}, ASK_SECONDS).get(name)
    return ("", since) if found is None or isinstance(found, Exception) else (found[0], found[1])


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[-1] if lines else type(error).__name__)[:MAX_WORDS]


ACTIONS: dict[str, Callable[..., Any]] = {"submit": submit, "status": status, "scale": scale, "stop": stop}


def main(action: str, run: str, *arguments: str) -> int:
    """Do one action; returns the exit code."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints is no answer
    deployment = read_deployment(Path(run))
    try:
        if deployment is None:
            raise UsageError(f"{run} is not deployed")
        if action == "logs":
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            logs(Cluster(deployment), lambda text: print(text, end="", file=answers, flush=True), *arguments)
            return 0
        answer = {"found": ACTIONS[action](Cluster(deployment), *arguments)}
    except DppoError as error:
        if action == "logs":
            print(f"dppo: error: {error}", file=answers, flush=True)
            return error.exit_code
        answer = {"error": str(error), "gone": isinstance(error, GoneError)}
    print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
