"""Engine k8s: objects for `kubectl apply -k`. Kubernetes starts again what dies.

Keys and the first token are made here, in access/ of the run directory, before the first pod runs; kubectl reads them
from there. No manifest and no argument holds a secret.
"""

import json
import time
from pathlib import Path
from typing import Any

import yaml

from dppo.deploy import k8s_manifests as manifests
from dppo.deploy.engine import Deployment, Plan, Process, Rendered, Report, State
from dppo.deploy.k8s_learners import access_of, actor_of, address, line_of
from dppo.deploy.kept_logs import MOST_LINES, keep_logs
from dppo.deploy.placement import shares_of
from dppo.deploy.plans import refuse_bind, refuse_initial_weights
from dppo.deploy.tools import run_tool, undone_where_it_fails
from dppo.learner.group.membership import directory_of
from dppo.learner.transport.credentials import Access
from dppo.protocol.errors import UsageError

VOLUME = "volume.yaml"
KUSTOMIZATION = "kustomization.yaml"
KEY_FILES = ("server.key", "tokens.json", "first.key", "join", "address")
JOB_SET = "jobset"
END_SECONDS = 180.0
STATES: dict[str, State] = {"Running": "running", "Succeeded": "ended", "Failed": "ended"}


def render(plan: Plan) -> Rendered:
    """Return the manifests, the learner's settings and the commands of kubectl."""
    refuse_bind(plan)
    refuse_initial_weights(plan)
    objects: dict[str, list[manifests.Manifest]] = {"service.yaml": [manifests.service(plan)]}
    if plan.deploy.workload == JOB_SET:
        objects["jobset.yaml"] = [manifests.job_set(plan)]
    else:
        objects |= {"learner.yaml": manifests.learner(plan), "actors.yaml": manifests.actors(plan)}
    objects["network-policies.yaml"] = manifests.network_policies(plan)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": plan.deploy.namespace,
        "resources": list(objects),
        "generatorOptions": {"disableNameSuffixHash": True},  # kustomize finds no names in a JobSet's pods
        "configMapGenerator": [{"name": f"{plan.name}-settings", "files": [manifests.SETTINGS]}],
    }
    files = {KUSTOMIZATION: _yaml([kustomization]), VOLUME: _yaml([manifests.volume(plan)])}
    files |= {name: _yaml(found) for name, found in objects.items()}
    return Rendered(files | {manifests.SETTINGS: plan.settings}, _commands(plan))


def submit(plan: Plan, rendered: Rendered) -> Deployment:
    """Make the keys, the secrets and the objects: all of them, or none."""
    kubectl = _kubectl(plan.deploy.namespace)
    selector = f"--selector={manifests.INSTANCE}={plan.name}"
    secrets = _secrets(plan.name, plan.learners)
    pods = run_tool([*kubectl, "get", "pods", selector, "--output=name"])
    if pods.strip() or run_tool([*kubectl, "get", "secrets", *secrets, "--ignore-not-found", "--output=name"]).strip():
        raise UsageError(f"namespace {plan.deploy.namespace} has {plan.name} already: choose another deploy.name")
    for rank in range(plan.learners):
        run = directory_of(plan.run, rank)
        run.mkdir(parents=True, exist_ok=True)
        if Access.open(run, time.time()).announce(address(plan, rank), time.time()) is None:
            raise UsageError(f"the first token of {run} is no longer valid: dppo token rotate {run}")
    volume_is_new = not run_tool([*kubectl, "get", "pvc", f"{plan.name}-runs", "--ignore-not-found", "--output=name"])
    undo = _removal(plan.deploy.namespace, plan.name, str(plan.folder), plan.learners)
    if volume_is_new:
        undo.append([*kubectl, "delete", "pvc", f"{plan.name}-runs", "--ignore-not-found", "--wait=false"])
    with undone_where_it_fails(*undo):
        for command in rendered.commands:
            run_tool(command)
    return Deployment(
        engine="k8s",
        name=plan.name,
        run=str(plan.run),
        actors=plan.actors,
        learners=plan.learners,
        submitted=time.time(),
        handle={"namespace": plan.deploy.namespace, "workload": plan.deploy.workload},
        logs_of_one=[*kubectl, "logs", f"{plan.name}-{{process}}", "--tail={lines}"],
        logs=[*kubectl, "logs", selector, "--all-containers", "--prefix", "--tail={lines}", "--max-log-requests=1000"],
    )


def status(deployment: Deployment) -> Report:
    """Ask for the pods."""
    selector = f"--selector={manifests.INSTANCE}={deployment.name}"
    said = run_tool([*_kubectl(deployment.handle["namespace"]), "get", "pods", selector, "--output=json"])
    pods = json.loads(said)["items"]
    processes = [_process(pod, deployment.name) for pod in pods]
    learners = [process for process in processes if process.name.startswith("learner")]
    if not pods:
        return Report((), "it has no pods")
    over = "the learner has ended" if learners and all(process.state == "ended" for process in learners) else ""
    ordered = sorted(processes, key=lambda process: (process.name.startswith("actor"), process.name))
    return Report(ordered, over, wanted=deployment.actors + 1)  # all learners are in one pod


def scale(deployment: Deployment, actors: int) -> None:
    """Set the replicas of the actors' Deployment."""
    if deployment.handle["workload"] == JOB_SET:
        raise UsageError("a JobSet has the actors that it was made with: dppo down, then dppo up with another number")
    kubectl = _kubectl(deployment.handle["namespace"])
    for rank, count in enumerate(shares_of(actors, deployment.learners)):
        run_tool([*kubectl, "scale", f"deployment/{deployment.name}-{actor_of(rank)}", f"--replicas={count}"])


def stop(deployment: Deployment) -> None:
    """Delete the objects and secrets, after the pods' logs are here; the volume with the results stays."""
    kubectl, selector = _kubectl(deployment.handle["namespace"]), f"--selector={manifests.INSTANCE}={deployment.name}"
    pods = run_tool([*kubectl, "get", "pods", selector, "--output=name"]).split()
    ends = ("--all-containers", f"--tail={MOST_LINES}")
    keep_logs(
        deployment,
        {pod.removeprefix("pod/").removeprefix(f"{deployment.name}-"): [*kubectl, "logs", pod, *ends] for pod in pods},
    )
    folder, learners = str(deployment.folder), deployment.learners
    for command in _removal(deployment.handle["namespace"], deployment.name, folder, learners):
        run_tool(command, seconds=END_SECONDS)


def _commands(plan: Plan) -> list[list[str]]:
    kubectl, generic = _kubectl(plan.deploy.namespace), ["create", "secret", "generic"]
    places = [directory_of(plan.run, rank) / "access" for rank in range(plan.learners)]
    lines = [f"--from-file={line_of(rank)}={access / 'join'}" for rank, access in enumerate(places)]
    return [
        [*kubectl, "apply", f"--filename={plan.folder / VOLUME}"],
        *([*kubectl, *generic, f"{plan.name}-{access_of(rank)}", *_keys(access)] for rank, access in enumerate(places)),
        [*kubectl, *generic, f"{plan.name}-join", *lines],
        [*kubectl, "apply", f"--kustomize={plan.folder}"],
    ]


def _keys(access: Path) -> list[str]:
    return [f"--from-file={access / name}" for name in KEY_FILES]


def _secrets(name: str, learners: int) -> list[str]:
    return [*(f"{name}-{access_of(rank)}" for rank in range(learners)), f"{name}-join"]


def _removal(namespace: str, name: str, folder: str, learners: int) -> list[list[str]]:
    kubectl = _kubectl(namespace)
    return [
        [*kubectl, "delete", f"--kustomize={folder}", "--ignore-not-found"],
        [*kubectl, "delete", "secret", *_secrets(name, learners), "--ignore-not-found"],
    ]


def _kubectl(namespace: str) -> list[str]:
    return ["kubectl", f"--namespace={namespace}"]


def _yaml(objects: list[manifests.Manifest]) -> str:
    class Plain(yaml.SafeDumper):
        """Writes what is there twice twice, without anchors."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return "---\n".join(yaml.dump(one, Dumper=Plain, sort_keys=False, width=120) for one in objects)


def _process(pod: dict[str, Any], name: str) -> Process:
    state = pod["status"]
    containers = state.get("containerStatuses", [])
    waiting = [one["state"]["waiting"] for one in containers if "waiting" in one.get("state", {})]
    note = ", ".join(reason.get("reason", "") for reason in waiting) or state.get("reason", "")
    return Process(
        pod["metadata"]["name"].removeprefix(f"{name}-"),
        "waiting" if waiting else STATES.get(state.get("phase", ""), "waiting"),
        host=pod["spec"].get("nodeName", ""),
        restarts=sum(one.get("restartCount", 0) for one in containers),
        note=note,
    )
