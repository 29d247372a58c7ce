"""Actors of one host: so many as are wanted, named, started again when they die. Knows no engine and no learner."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dppo.deploy.engine import Process
from dppo.local.log_files import NO_TRACE
from dppo.local.processes import Child, end
from dppo.protocol.process.heartbeat_pipe import with_heartbeat
from dppo.protocol.process.lifeline import Lifeline

LEAVING_SECONDS = 10.0  # for an actor to ship what it has collected


class SupervisedActors:
    """A number of actors, each with a log. Call `look` a few times in a second."""

    def __init__(
        self,
        arguments: Callable[[str], Sequence[str]],
        logs: Path,
        lifeline: Lifeline,
        *,
        prefix: str = "actor-",
        variables: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """arguments: of Python, for an actor's name; variables: environment of all of them."""
        self._arguments = arguments
        self._logs = logs
        self._lifeline = lifeline
        self._prefix = prefix
        self._variables = {"OMP_NUM_THREADS": "1", **NO_TRACE, **(variables or {})}
        self._clock = clock
        self._children: list[Child] = []
        self._leaving: list[tuple[Child, float]] = []  # and when they are killed

    def want(self, count: int) -> None:
        """Start or end actors until there are so many: those that came last go first."""
        while len(self._children) > count:
            child = self._children.pop()
            if child.process is not None:
                child.process.send_signal(signal.SIGTERM)
                self._leaving.append((child, self._clock() + LEAVING_SECONDS))
        leaving = {child.name for child, _ in self._leaving}
        while len(self._children) < count:
            name = f"{self._prefix}{len(self._children)}"
            if name in leaving:  # the learner knows that name by another process; next time
                return
            child = Child(
                name,
                self._arguments(name),
                self._logs / f"{name}.log",
                self._lifeline,
                *with_heartbeat(self._variables),
            )
            child.start()
            self._children.append(child)

    def look(self) -> None:
        """Reap those that have ended; start again those that should not have."""
        for child in self._children:
            child.died()
            child.restart_if_due()
        now = self._clock()
        for child, deadline in list(self._leaving):
            if child.process is not None and child.process.poll() is None and now > deadline:
                child.process.kill()
            if child.process is None or child.process.exit_code is not None:
                self._leaving.remove((child, deadline))

    def all_ended(self) -> bool:
        """Whether none runs, after a look without restarts."""
        for child in self._children:
            child.died()
        return all(child.process is None for child in self._children)

    def processes(self, host: str = "") -> list[Process]:
        """Return them as they were at the last look."""
        return [_process(child, host) for child in self._children]

    def end(self) -> None:
        """SIGTERM, wait, SIGKILL; returns when all are gone."""
        end([*self._children, *(child for child, _ in self._leaving)], LEAVING_SECONDS)


def _process(child: Child, host: str) -> Process:
    if child.process is not None:
        return Process(child.name, "running", host, child.deaths)
    return Process(child.name, "waiting", host, child.deaths, child.last_error() or "to be started again")
