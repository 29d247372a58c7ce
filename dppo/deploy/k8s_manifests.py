"""Kubernetes objects of a deployment, as plain values. Knows Kubernetes' fields; runs nothing.

Secrets hold the keys; kubectl makes them from files, and they are in no manifest: NAME-access (keys and tokens, which
only the learner mounts) and NAME-join (the join line, which actors mount).

Several learners are processes of one pod, under torchrun, each with its port, its secret NAME-access-R, its line in
NAME-join, and a Deployment of actors: pods of their own could not be started again together, and would share a volume.
"""

from pathlib import Path
from typing import Any

from dppo.deploy.engine import Plan
from dppo.deploy.k8s_learners import access_of, access_path, actor_of, address, host, line_of, of_learner, ports
from dppo.deploy.placement import shares_of
from dppo.deploy.plans import learner_command, times
from dppo.learner.group.membership import directory_of

SETTINGS = "run.yaml"
RUNS = "/dppo/runs"
JOIN = "/dppo/join"
USER = 1000  # of the images
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
LEARNER_GRACE_SECONDS = 60  # to finish an update and write a checkpoint
ACTOR_GRACE_SECONDS = 15
Manifest = dict[str, Any]


def labels(plan: Plan, component: str) -> dict[str, str]:
    """Return the labels of a component's objects and pods."""
    return {"app.kubernetes.io/name": "dppo", INSTANCE: plan.name, COMPONENT: component}


def volume(plan: Plan) -> Manifest:
    """Return the claim of the run directory's volume. No other command deletes it: results stay."""
    storage_class = {"storageClassName": plan.deploy.storage_class} if plan.deploy.storage_class else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(plan, f"{plan.name}-runs", "learner"),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            **storage_class,
            "resources": {"requests": {"storage": _quantity(plan.deploy.storage)}},
        },
    }


def service(plan: Plan) -> Manifest:
    """Return the headless service: actors reach the learner's pod itself, by the name of the service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(plan, f"{plan.name}-learner", "learner"),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": _selector(plan, "learner"),
            "ports": [{"name": name, "port": port} for name, port in ports(plan).items()],
        },
    }


def learner(plan: Plan) -> list[Manifest]:
    """Return the StatefulSet of the learner and its budget of disruptions."""
    name = f"{plan.name}-learner"
    selector = {"matchLabels": _selector(plan, "learner")}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": _metadata(plan, name, "learner"),
            "spec": {
                "replicas": 1,
                "serviceName": name,
                "selector": selector,
                "template": _learner_pod(plan, "Always"),
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _metadata(plan, name, "learner"),
            "spec": {"maxUnavailable": 0, "selector": selector},
        },
    ]


def actors(plan: Plan) -> list[Manifest]:
    """Return the Deployments of the actors, one a learner, which keep nothing and are spread over the nodes."""
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _metadata(plan, f"{plan.name}-{actor_of(rank)}", "actor"),
            "spec": {
                "replicas": count,
                "selector": {"matchLabels": _selector(plan, "actor") | of_learner(plan, rank)},
                "template": _actor_pod(plan, "Always", rank),
            },
        }
        for rank, count in enumerate(shares_of(plan.actors, plan.learners))
    ]


def job_set(plan: Plan) -> Manifest:
    """Return the JobSet: done when the learner is, whatever becomes of actors."""
    jobs = [_replicated("learner", 1, 10, _learner_pod(plan, "OnFailure"))]
    for rank, count in enumerate(shares_of(plan.actors, plan.learners)):
        if count:
            jobs.append(_replicated(actor_of(rank), count, 1000, _actor_pod(plan, "OnFailure", rank)))
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": _metadata(plan, plan.name, "run"),
        "spec": {"successPolicy": {"operator": "All", "targetReplicatedJobs": ["learner"]}, "replicatedJobs": jobs},
    }


def network_policies(plan: Plan) -> list[Manifest]:
    """Return the rules of access: only actors reach the learner's port, and nothing reaches the actors."""
    from_actors = {"podSelector": {"matchLabels": _selector(plan, "actor")}}
    to_learner = {"from": [from_actors], "ports": [{"protocol": "TCP", "port": port} for port in ports(plan).values()]}
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": _metadata(plan, f"{plan.name}-{component}", component),
            "spec": {
                "podSelector": {"matchLabels": _selector(plan, component)},
                "policyTypes": ["Ingress"],
                "ingress": ingress,
            },
        }
        for component, ingress in (("learner", [to_learner]), ("actor", []))
    ]


def _replicated(name: str, count: int, backoff: int, pod: Manifest) -> Manifest:
    spec = {"parallelism": count, "completions": count, "backoffLimit": backoff, "template": pod}
    return {"name": name, "replicas": 1, "template": {"spec": spec}}


def _learner_pod(plan: Plan, restart: str) -> Manifest:
    run, deploy = f"{RUNS}/{plan.run.name}", plan.deploy
    ranks = range(plan.learners)
    command = [*learner_command(plan.learners), "--config", f"/dppo/settings/{SETTINGS}", "--preset", "none"]
    command += ["--run.directory", f"runs/{plan.run.name}", "--bind", f"tcp://0.0.0.0:{deploy.port}"]
    command += ["--advertise", address(plan) if plan.learners == 1 else host(plan)]
    image, runs = deploy.learner_image or "dppo-learner:latest", {"name": "runs", "mountPath": RUNS}
    keys = {
        "name": "keys",
        "image": image,
        "command": ["sh", "-c"],
        "args": ["umask 077; " + "; ".join(_copied_keys(f"{directory_of(Path(run), rank)}", rank) for rank in ranks)],
        "volumeMounts": [runs, *(_mount(access_of(rank), access_path(rank)) for rank in ranks)],
        "securityContext": _confined(),
    }
    main = {
        **_container("learner", image, command),
        "ports": [{"name": name, "containerPort": port} for name, port in ports(plan).items()],
        "volumeMounts": [runs, _mount("settings", "/dppo/settings"), {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        **_resources(
            deploy.learner_cpus * plan.learners,
            times(deploy.learner_memory, plan.learners),
            deploy.learner_gpus * plan.learners,
        ),
    }
    volumes = [
        {"name": "runs", "persistentVolumeClaim": {"claimName": f"{plan.name}-runs"}},
        *(
            {"name": name, "secret": {"secretName": f"{plan.name}-{name}", "defaultMode": 0o440}}
            for name in map(access_of, ranks)
        ),
        {"name": "settings", "configMap": {"name": f"{plan.name}-settings"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    spec = {"initContainers": [keys], "containers": [main], "volumes": volumes}
    return _pod(plan, "learner", restart, LEARNER_GRACE_SECONDS, spec)


def _copied_keys(run: str, rank: int) -> str:
    """Return the shell that gives a learner its keys, once."""
    access = f"{run}/access"
    return (
        f'[ -e "{access}/server.key" ] || {{ mkdir -p "{access}" && cp {access_path(rank)}/* "{access}/"; }}; '
        f'chmod -R go= "{access}"'  # a new mount gives all files to the group
    )


def _actor_pod(plan: Plan, restart: str, rank: int) -> Manifest:
    deploy = plan.deploy
    command = ["dppo", "actor", "--join-file", f"{JOIN}/{line_of(rank)}", "--name", "$(POD_NAME)"]
    main = {
        **_container("actor", deploy.actor_image or "dppo-actor:latest", command),
        "volumeMounts": [_mount("join", JOIN), {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        **_resources(deploy.actor_cpus, deploy.actor_memory, 0),
    }
    main["env"].append({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _selector(plan, "actor")},
    }
    volumes = [
        {"name": "join", "secret": {"secretName": f"{plan.name}-join", "defaultMode": 0o440}},
        {"name": "tmp", "emptyDir": {}},
    ]
    spec = {"topologySpreadConstraints": [spread], "containers": [main], "volumes": volumes}
    pod = _pod(plan, "actor", restart, ACTOR_GRACE_SECONDS, spec)
    pod["metadata"]["labels"] |= of_learner(plan, rank)
    return pod


def _pod(plan: Plan, component: str, restart: str, grace_seconds: int, spec: Manifest) -> Manifest:
    common: Manifest = {
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {"metadata": {"labels": labels(plan, component)}, "spec": common | spec}


def _container(name: str, image: str, command: list[str]) -> Manifest:
    probe = {"exec": {"command": ["python", "-m", "dppo.ops.healthcheck"]}, "periodSeconds": 10, "timeoutSeconds": 5}
    return {
        "name": name,
        "image": image,
        "args": command,
        "env": [{"name": "DPPO_HEALTH_FILE", "value": "/tmp/dppo.health"}],  # noqa: S108
        "securityContext": _confined(),
        "startupProbe": {**probe, "failureThreshold": 30},
        "livenessProbe": probe,
    }


def _confined() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _mount(name: str, path: str) -> Manifest:
    return {"name": name, "mountPath": path, "readOnly": True}


def _resources(cpus: int, memory: str, gpus: int) -> Manifest:
    requests = {**({"cpu": str(cpus)} if cpus else {}), **({"memory": _quantity(memory)} if memory else {})}
    limits = {
        **({"memory": _quantity(memory)} if memory else {}),
        **({"nvidia.com/gpu": str(gpus)} if gpus else {}),
    }
    found = {**({"requests": requests} if requests else {}), **({"limits": limits} if limits else {})}
    return {"resources": found} if found else {}


def _quantity(size: str) -> str:
    """Return a size as Kubernetes writes it: 4G is 4Gi, as in the other engines."""
    return f"{size}i" if size[-1:] in ("K", "M", "G", "T") else size


def _selector(plan: Plan, component: str) -> dict[str, str]:
    return {INSTANCE: plan.name, COMPONENT: component}


def _metadata(plan: Plan, name: str, component: str) -> Manifest:
    return {"name": name, "labels": labels(plan, component)}
