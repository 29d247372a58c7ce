"""Supervisor of a deployment whose engine has none: a learner on this machine, and actors.

`python -m dppo.deploy.supervisor RUN`. Looks at deploy.json for the number of actors, starts again what dies, and ends
with the run, with SIGTERM, or where the learner is refused. What it has started ends with it, however it ends.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from dppo.deploy.engine import FOLDER, Deployment, Process
from dppo.deploy.records import read_deployment
from dppo.deploy.supervised import HOSTS, LOCK, SETTINGS, Status, write_status
from dppo.deploy.supervised_actors import SupervisedActors
from dppo.learner.group.membership import SLOTS, directory_of
from dppo.local.learner_group import LearnerGroup, rank_variables
from dppo.local.processes import Child, end
from dppo.protocol.errors import DppoError
from dppo.protocol.process.household import leaves_nothing
from dppo.protocol.process.lifeline import Lifeline

TICK_SECONDS = 0.1
GRACE_SECONDS = 30.0  # for a learner's update and its checkpoint
FAREWELL_SECONDS = 10.0  # for actors to end by themselves, once the run is over
FATAL = (2, 3)  # exit codes of a learner that would be refused again


class Actors(Protocol):
    """Holder of the actors: a group on this machine, or hosts."""

    def want(self, count: int) -> None:
        """Have so many from now on."""

    def look(self) -> None:
        """Do what is due."""

    def all_ended(self) -> bool:
        """Whether all have ended by themselves; none is started again."""

    def processes(self) -> Sequence[Process]:
        """Return them with their states."""

    def end(self) -> None:
        """End all; returns when they are gone."""


class Supervisor:
    """Learner and actors of one deployment."""

    def __init__(self, deployment: Deployment, learner: LearnerGroup, actors: Actors) -> None:
        self._deployment = deployment
        self._learner = learner
        self._actors = actors
        self._joins = join_files(deployment)
        self._record = deployment.path / "deploy.json"
        self._record_stamp = (0, 0)
        self._wanted = deployment.actors
        self._status = Status()

    def run(self, stop: "list[int]") -> int:
        """Go on until the run is over; returns the exit code. stop: signals that have come."""
        for join in self._joins:
            join.unlink(missing_ok=True)  # its address may be that of an earlier learner
        self._learner.start()
        over, code = "", 0
        try:
            while not stop and not over:
                over, code = self._step()
                if not over:
                    time.sleep(TICK_SECONDS)
            if code == 0 and not stop:
                self._wait_for_farewells()
        finally:
            self._actors.end()
            end(self._learner.children, GRACE_SECONDS)
            self._note(over or "dppo down ended it", code)
        return code

    def _step(self) -> tuple[str, int]:
        """Look at everything once; returns why it is over, and the exit code then."""
        code = self._learner.died()
        if code == 0:
            return "the run is over", 0
        if code is not None and (code in FATAL or self._learner.hopeless or not self._status.listens):
            words = self._learner.last_error() or f"(log: {self._learner.log})"
            return f"{self._learner.how}: {words}", code if code > 0 else 1
        self._learner.restart_if_due()
        if self._listens():
            self._read_wish()
            self._actors.want(self._wanted)
            self._actors.look()
        self._note()
        return "", 0

    def _listens(self) -> bool:
        """Whether all learners have listened once."""
        return self._status.listens or all(join.exists() for join in self._joins)

    def _read_wish(self) -> None:
        status = self._record.stat()
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._record_stamp:
            self._record_stamp = stamp
            found = read_deployment(self._deployment.path)
            self._wanted = self._wanted if found is None else found.actors

    def _wait_for_farewells(self) -> None:
        """Let the actors end by themselves: the learner has told them that the run is over."""
        deadline = time.monotonic() + FAREWELL_SECONDS
        while not self._actors.all_ended() and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)

    def _note(self, over: str = "", code: int = 0) -> None:
        learners = [
            Process(child.name, "running" if child.process else "waiting", restarts=child.deaths)
            for child in self._learner.children
        ]
        status = Status(os.getpid(), self._listens(), [*learners, *self._actors.processes()], over, code)
        if status != self._status:
            self._status = status
            write_status(self._deployment.folder, status)


def main(run: Path) -> int:
    """Supervise the deployment of that run; returns the exit code."""
    deployment = read_deployment(run)
    if deployment is None:
        raise DppoError(f"{run} is not deployed")
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stop.append(number))
    lock = os.open(run / FOLDER / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with leaves_nothing(GRACE_SECONDS, sweeper=True), Lifeline() as lifeline:
        return Supervisor(deployment, learners_of(deployment, lifeline), _actors(deployment, lifeline)).run(stop)


def join_files(deployment: Deployment) -> list[Path]:
    """Return the files with the join lines of all learners, by rank."""
    ranks = range(deployment.learners)
    return [directory_of(deployment.path, rank) / "access" / "join" for rank in ranks]


def learners_of(deployment: Deployment, lifeline: Lifeline) -> LearnerGroup:
    """Return the learners, not started: one, or the ranks of a group."""
    arguments, ranks = _learner_arguments(deployment), deployment.learners
    names = ["learner", *(f"learner-{rank}" for rank in range(1, ranks))]
    return LearnerGroup(
        [
            Child(name, arguments, _log(deployment, name), lifeline, rank_variables(rank, ranks, rank * SLOTS))
            for rank, name in enumerate(names)
        ]
    )


def _log(deployment: Deployment, name: str) -> Path:
    return deployment.path / "logs" / f"{name}.log"


def _learner_arguments(deployment: Deployment) -> list[str]:
    words = ["-m", "dppo", "learner", "--config", str(deployment.folder / SETTINGS), "--preset", "none"]
    words += ["--bind", deployment.handle["bind"]]
    return [*words, *(("--advertise", deployment.handle["advertise"]) if deployment.handle["advertise"] else ())]


def _actors(deployment: Deployment, lifeline: Lifeline) -> Actors:
    if deployment.engine == "ssh":
        from dppo.deploy.ssh_actors import Hosts, SshActors

        hosts = msgspec.json.decode((deployment.folder / HOSTS).read_bytes(), type=Hosts)
        return SshActors(hosts, join_files(deployment))
    return SupervisedActors(lambda name: actor_arguments(deployment, name), deployment.path / "logs", lifeline)


def actor_arguments(deployment: Deployment, name: str) -> list[str]:
    """Return the command of an actor on this machine: number i joins learner i mod M."""
    joins, number = join_files(deployment), int(name.rpartition("-")[2])
    return ["-m", "dppo", "actor", "--join-file", str(joins[number % len(joins)]), "--name", name]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
