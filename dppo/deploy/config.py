"""Settings of `dppo up`, and the arguments of the commands about deployments. Knows names, ranges and defaults only.

The text below a field is its help.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from dppo.learner.config import LearnerConfig
from dppo.learner.setting_checks import at_least, at_most, positive
from dppo.protocol.errors import UsageError
from dppo.protocol.transport.endpoints import check_endpoint, host_and_port
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import FLATTENED

EngineName = Literal["local", "docker", "ssh", "slurm", "k8s", "ray"]
MAX_NAME = 40  # of 63 that a DNS label may have: pods add their own endings
MAX_ACTORS = 100_000
MAX_PORT = 65_535
_NAME = re.compile(rf"[a-z]([a-z0-9-]{{0,{MAX_NAME - 2}}}[a-z0-9])?")
SLOTS = 8  # of a host that names none
_HOST = re.compile(r"([A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.:_-]{0,252}")
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}:\d{1,5}")
_QUANTITY = re.compile(r"([1-9]\d*)([KMGT]?)")


@dataclass(frozen=True)
class Host:
    """One host for actors."""

    name: str  # as ssh knows it
    user: str  # "": as ssh has it
    slots: int  # actors that it has room for; more are placed only where all hosts are full

    @property
    def label(self) -> str:
        """Name for actors' names."""
        return re.sub(r"[^A-Za-z0-9._-]", "-", self.name)


def parse_hosts(entries: list[Any]) -> tuple[Host, ...]:
    """Return the hosts of `deploy.hosts`. Raises UsageError."""
    found: list[Host] = []
    for entry in entries:
        pairs = list(entry.items()) if isinstance(entry, dict) else [(entry, SLOTS)]
        for text, slots in pairs:
            if not isinstance(text, str) or not _HOST.fullmatch(text):
                raise UsageError(f"deploy.hosts: {text!r} is no host: write for example h1 or user@h1")
            if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
                raise UsageError(f"deploy.hosts: {text}: {slots!r} slots: give a whole number above 0")
            user, _, name = text.rpartition("@")
            found.append(Host(name, user, slots))
    names = [host.label for host in found]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise UsageError(f"deploy.hosts: {twice} is there twice")
    return tuple(found)


@dataclass(frozen=True)
class DeployConfig:
    """Engine that places and supervises the processes of `dppo up`, and what it needs to know."""

    engine: EngineName = "local"
    """Engine: local (this machine), docker (compose), ssh, slurm, k8s or ray; `--on` is short for it."""
    name: str = ""
    """Name of the project, job or objects: up to 40 lower-case letters, digits and dashes; empty: dppo- and the run
    directory's name."""
    learner_cpus: int = 0
    """Cores reserved for each learner; 0: as the engine does by itself."""
    learner_memory: str = ""
    """Memory of each learner, for example 4G; empty: as the engine does by itself."""
    learner_gpus: int = 0
    """GPUs of each learner; run.device has to name one, too."""
    actor_cpus: int = 1
    """Cores reserved for each actor, where the engine reserves any."""
    actor_memory: str = ""
    """Memory of each actor, for example 1G; empty: as the engine does by itself."""
    compose_file: str = "docker-compose.yml"
    """docker: the compose file, that of the repository or one with the same services."""
    learner_image: str = ""
    """docker, k8s: image of the learner; empty: as in the compose file, dppo-learner:latest on k8s."""
    actor_image: str = ""
    """docker, k8s: image of the actors; empty: as in the compose file, dppo-actor:latest on k8s."""
    tensorboard_port: int = 0
    """docker: TensorBoard on this port of this machine's loopback; 0: none."""
    hosts: list[Any] = field(default_factory=list)
    """ssh: hosts for actors, as [h1, user@h2, {h3: 16}]: names that ssh knows, each with its slots, 8 where none are
    given. Actors go where most slots are free."""
    ssh_config: str = ""
    """ssh: configuration file; empty: ~/.ssh/config. Host keys must be known."""
    directory: str = ""
    """ssh, ray: working directory on the hosts, where modules of environments are; empty: the user's home (ssh), the
    same directory as here where there is one (ray)."""
    install: str = ""
    """ssh: a wheel of dppo to copy to the hosts and to install there, without PyTorch, in an environment of its own
    (~/.dppo/venv); empty: dppo is there already."""
    python: str = ""
    """ssh, slurm: Python on the hosts, with dppo installed in it; empty: the same path as here."""
    setup: tuple[str, ...] = ()
    """slurm: lines of shell before everything else in a job, for example [module load python]."""
    partition: str = ""
    """slurm: partition; empty: the cluster's default."""
    account: str = ""
    """slurm: account; empty: the user's default."""
    time_limit: str = ""
    """slurm: longest time of a job, as sbatch takes it, for example 2-00:00:00; empty: the partition's default."""
    slurm_layout: Literal["heterogeneous", "elastic"] = "heterogeneous"
    """slurm: heterogeneous is one job with learner and actors, all or nothing; elastic is a job for the learner and an
    array of actors, which come and go, are requeued when their node dies, and can be scaled."""
    port: int = 5555
    """ssh, slurm, k8s, ray: port of the learner; with several, of the first one on a host, and the next ones follow."""
    ray_address: str = "auto"
    """ray: host:port of a running cluster, of which this machine must be a node; auto: the one of this machine."""
    namespace: str = "default"
    """k8s: namespace, which must be there."""
    storage: str = "5G"
    """k8s: size of the volume for the run directory."""
    storage_class: str = ""
    """k8s: storage class of that volume; empty: the cluster's default."""
    workload: Literal["statefulset", "jobset"] = "statefulset"
    """k8s: statefulset for a run that goes on until it is ended (StatefulSet and Deployment, can be scaled); jobset for
    one that is gone when the learner has ended (needs JobSet in the cluster)."""

    def __post_init__(self) -> None:
        at_least("deploy", self, 0, "learner_cpus", "learner_gpus", "actor_cpus", "tensorboard_port")
        at_most("deploy", self, MAX_PORT, "tensorboard_port", "port")
        positive("deploy", self, "port")
        if not _NAME.fullmatch(self.namespace):
            raise UsageError(f"deploy.namespace={self.namespace!r} is none: take lower-case letters, digits and dashes")
        if self.name and not _NAME.fullmatch(self.name):
            raise UsageError(
                f"deploy.name={self.name!r} would be refused by engines: take up to {MAX_NAME} lower-case letters, "
                "digits and dashes, a letter first"
            )
        parse_hosts(self.hosts)
        if self.ray_address != "auto" and not _ADDRESS.fullmatch(self.ray_address):
            raise UsageError(
                f"deploy.ray_address={self.ray_address!r} is no host:port: name the head's, for example 10.0.0.5:6379, "
                "or auto (this machine must be a node of the cluster, so ray:// is not for this)"
            )
        for name in ("learner_memory", "actor_memory", "storage"):
            if getattr(self, name) and not _QUANTITY.fullmatch(getattr(self, name)):
                raise UsageError(f"deploy.{name}={getattr(self, name)!r} is no size: write for example 512M or 4G")


@dataclass(frozen=True)
class UpConfig:
    """Start a run's learner and actors with an engine, which goes on with them when this command has ended.

    The file is one of `dppo train`; its section `deploy` has what the engine needs.
    """

    learner: LearnerConfig = field(default=LearnerConfig(), metadata=FLATTENED)
    actors: int = 2
    """Actor processes."""
    learners: int = 1
    """Learner processes that train one policy."""
    bind: str = ""
    """Endpoint of the learner for its actors, as of `dppo learner`; empty: a free port of this machine's loopback
    (local), else every address of its host, port deploy.port."""
    advertise: str = ""
    """Host or host:port in the join line, where actors know the learner's host by another name; empty: found out."""
    evaluation_episodes: int = 20
    """Episodes of the evaluation at the end, if the learner's host has the environment; 0 skips it."""
    evaluation_seconds: float = 60.0
    """Seconds that the evaluation at the end may take; at the limit, the episodes that are over count."""
    deploy: DeployConfig = DeployConfig()

    def __post_init__(self) -> None:
        for name, least in (("actors", 0), ("learners", 1), ("evaluation_episodes", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)} must be at least {least}")
        # what depends on the number of actors is as in `dppo train`
        object.__setattr__(
            self, "learner", TrainConfig(learner=self.learner, actors=self.actors, learners=self.learners).learner
        )
        check_count(self.actors)
        if self.bind:
            check_endpoint(self.bind)
        if self.learners > 1 and self.advertise and host_and_port(f"tcp://{self.advertise}")[1]:
            raise UsageError(
                f"advertise={self.advertise}: each of {self.learners} learners has its own port: give the host only"
            )


def check_count(actors: int) -> None:
    """Raise UsageError for a number of actors that cannot be meant."""
    if not 0 <= actors <= MAX_ACTORS:
        raise UsageError(f"actors={actors} must be from 0 to {MAX_ACTORS:,}")


@dataclass(frozen=True)
class PsArguments:
    """List deployments with their processes and states."""

    run: str = ""
    """Run directory; empty: all deployments below runs."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class LogsArguments:
    """Print what the processes of a deployment have logged."""

    run: str = ""
    """Run directory; empty: the one deployment that is up below runs."""
    process: str = ""
    """Only of this process, for example learner or actor-0."""
    lines: int = 20
    """Lines of each log, from its end."""
    follow: bool = False
    """Go on printing what is added, until Ctrl-C."""

    def __post_init__(self) -> None:
        if self.lines < 0:
            raise UsageError(f"lines={self.lines} must be at least 0")


@dataclass(frozen=True)
class ScaleArguments:
    """Change the number of actors of a deployment in mid-run: dppo scale RUN 8."""

    actors: int
    """Actors from now on."""
    run: str = ""
    """Run directory; empty: the one deployment that is up below runs."""

    def __post_init__(self) -> None:
        check_count(self.actors)


@dataclass(frozen=True)
class DownArguments:
    """End a deployment: learner and actors stop, the learner with a checkpoint. What it has trained stays."""

    run: str = ""
    """Run directory; empty: the one deployment that is up below runs."""


ARGUMENTS: dict[str, Any] = {
    "ps": PsArguments,
    "logs": LogsArguments,
    "scale": ScaleArguments,
    "down": DownArguments,
}
