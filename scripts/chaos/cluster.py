"""A learner and its actors as real processes under supervision: the shell of the chaos bench.

Everything happens in `live` and `until`, which keep the dead being replaced, read what the run writes and sample the
learner's memory while time passes. Leaving the cluster ends every process of it, whatever happened.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dppo.learner.storage.audit import audit
from dppo.protocol.errors import DppoError
from dppo.protocol.process.lifeline import Lifeline
from scripts.chaos.figures import Figure, holds, none_of, reported
from scripts.chaos.samples import Sample, sample
from scripts.chaos.simulators import PACED, counted_steps
from scripts.chaos.watching import RunWatch, open_accounts
from scripts.chaos.workers import Worker
from scripts.ports import free_port

TURN_SECONDS = 0.03
SAMPLE_SECONDS = 1.0
JOIN_SECONDS = 60.0  # until the first updates, on a busy machine
START_SECONDS = 10.0  # a process that was just started may still be importing
END_SECONDS = 30.0  # the grace within which everything ends after SIGTERM
PROBLEM = re.compile(r"Traceback|Error\b|error:|not close|do not belong together|could not be|cannot be read", re.I)


@dataclass(frozen=True)
class Plan:
    """Processes and settings of a cluster. The default leaves two cores half idle: a simulator limits the actors."""

    actors: int = 8
    envs: int = 4  # of one actor
    batch_steps: int = 512
    step_seconds: float = 0.002  # of one environment
    env: str = PACED
    kwargs: dict[str, Any] = field(default_factory=dict)  # of an environment other than PACED
    settings: tuple[str, ...] = ()  # further flags of the learner
    variables: dict[str, str] = field(default_factory=dict)  # of the learner
    run: Path | None = None  # run directory; None: below the fault's own
    harmless: str = ""  # regular expression: problems in the learner's log that this fault is expected to cause


class Cluster:
    """One run of one fault."""

    def __init__(
        self,
        directory: Path,
        plan: Plan,
        *,
        address: str = "127.0.0.1",
        learner_host: tuple[str, ...] = (),
        actor_host: tuple[str, ...] = (),
    ) -> None:
        """directory: where everything is written; address: where the learner listens.

        learner_host, actor_host: what to put before a command so that it runs on that host.
        """
        self.plan = plan
        self.directory = directory
        self.counts = directory / "counts"
        self.breaks = directory / "breaks"
        for made in (self.counts, self.breaks):
            made.mkdir(parents=True)
        self.watch = RunWatch(plan.run or directory / "run")
        self.samples: list[Sample] = []  # of the learner
        self.endpoint = f"tcp://{address}:{free_port()}"
        self._lifeline = Lifeline()
        self._sample_at = 0.0
        self._actor_host = actor_host
        self.learner = self.worker("learner", *self._learner_arguments(), host=learner_host, variables=plan.variables)
        self.actors = [self.actor(f"actor-{number}") for number in range(plan.actors)]
        self.others: list[Worker] = []  # started by a fault

    def _learner_arguments(self) -> tuple[str, ...]:
        plan = self.plan
        kwargs = plan.kwargs
        if plan.env == PACED:
            kwargs = {"seconds": plan.step_seconds, "counts": str(self.counts), "breaks": str(self.breaks)}
        return (
            *("learner", "--preset", "none", "--env", plan.env, "--env.kwargs", json.dumps(kwargs)),
            *("--bind", self.endpoint, "--run.directory", str(self.watch.path), "--run.total-steps", str(10**9)),
            *("--collect.batch-steps", str(plan.batch_steps), "--collect.envs-per-actor", str(plan.envs)),
            *("--ppo.epochs", "4", "--ppo.minibatch-steps", "128"),
            *("--evaluation-episodes", "0", "--run.tensorboard", "false", *plan.settings),
        )

    def worker(
        self, name: str, *arguments: str, host: tuple[str, ...] = (), variables: dict[str, str] | None = None
    ) -> Worker:
        """`dppo <arguments>`, not started yet."""
        return Worker(name, arguments, self.directory / f"{name}.log", self._lifeline, variables or {}, host)

    def actor(self, name: str, **variables: str) -> Worker:
        """An actor of this run, not started yet."""
        return self.worker(
            name,
            *("actor", "--join-file", str(self.watch.path / "access" / "join"), "--name", name),
            host=self._actor_host,
            variables=variables,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self.workers:
            worker.end()
        self._lifeline.close()

    @property
    def workers(self) -> list[Worker]:
        """Every process of this cluster."""
        return [self.learner, *self.actors, *self.others]

    @property
    def now(self) -> float:
        """The clock of everything here, in seconds."""
        return time.monotonic()

    # Time passes

    def start(self, updates: int = 3) -> None:
        """Start everything and wait until training is under way. Raises DppoError where it does not get there."""
        for worker in (self.learner, *self.actors):
            worker.start()
        if self.until(lambda: len(self.watch.updates) >= updates, JOIN_SECONDS) is None:
            last = (self.learner.said().strip().splitlines() or ["nothing"])[-1]
            raise DppoError(f"no update within {JOIN_SECONDS:g} s of the start; the learner said last: {last}")

    def live(self, seconds: float) -> None:
        """Let that much time pass."""
        self.until(lambda: False, seconds)

    def until(self, condition: Callable[[], Any], seconds: float) -> float | None:
        """Let time pass until the condition holds; the seconds that it took, None where it does not hold in time."""
        started = self.now
        while True:
            self._turn()
            if condition():
                return self.now - started
            if self.now - started >= seconds:
                return None
            time.sleep(TURN_SECONDS)

    def next_update(self, seconds: float, *, after: float | None = None) -> float | None:
        """Seconds from `after` (now) until an update is seen, None where none comes in time."""
        since = self.now if after is None else after
        self.until(lambda: self.watch.updates and self.watch.updates[-1].at > since, seconds)
        later = [update.at for update in self.watch.updates if update.at > since]
        return later[0] - since if later else None

    def next_policy(self, seconds: float, *, after: float) -> float | None:
        """Seconds from `after` until a policy is published, None where none is in time."""
        self.until(lambda: self.watch.policies_at and self.watch.policies_at[-1] > after, seconds)
        later = [at for at in self.watch.policies_at if at > after]
        return later[0] - after if later else None

    def _turn(self) -> None:
        now = self.now
        for worker in self.workers:
            worker.look(now)
        self.watch.look(now)
        if now >= self._sample_at and self.learner.alive:
            self._sample_at = now + SAMPLE_SECONDS
            taken = sample(self.learner.pid, now)
            if taken is not None:
                self.samples.append(taken)

    # The end

    def finish(self, *, learner_may_die: bool = False) -> list[Figure]:
        """SIGTERM to the actors, then to the learner; then what every fault must leave behind."""
        for worker in self.workers:
            worker.stay_dead()
        actors = [*self.actors, *self.others]
        asked = self.now
        for actor in actors:
            actor.signal(signal.SIGTERM)
        gone = self.until(lambda: not any(actor.alive for actor in actors), END_SECONDS)
        for actor in actors:
            if asked - actor.started_at < START_SECONDS:
                actor.excuse(-signal.SIGTERM)  # it had not got so far as to say what it does about signals
        self.learner.signal(signal.SIGTERM)
        ended = self.until(lambda: not self.learner.alive, END_SECONDS)
        left = [worker.name for worker in self.workers if worker.alive]
        figures = [
            reported("updates", len(self.watch.updates)),
            reported("actors end after SIGTERM", gone, "s"),
            reported("learner end after SIGTERM", ended, "s"),
            none_of("processes that did not end", left),
            *self._learner_figures(learner_may_die),
            none_of(
                "actors that failed", [f"{a.name} {a.unexpected_exits}" for a in self.actors if a.unexpected_exits]
            ),
            none_of("versions that did not rise", self.watch.falls()),
            *self._ledger_figures(),
        ]
        return [replace(figure, routine=True) for figure in figures]

    def _learner_figures(self, may_die: bool) -> list[Figure]:
        harmless = re.compile(self.plan.harmless or r"(?!)")
        lines = self.learner.said().splitlines()
        problems = [line.strip() for line in lines if PROBLEM.search(line) and not harmless.search(line)]
        deaths = [] if may_die else [str(code) for code in self.learner.unexpected_exits]
        return [none_of("learner errors", problems), none_of("learner deaths not by us", deaths)]

    def _ledger_figures(self) -> list[Figure]:
        try:
            ledger = self.watch.ledger()
        except (OSError, ValueError) as error:
            return [holds("ledger closes", False, f"there is none: {error}")]
        total = ledger["total"]
        dropped = {reason: steps for reason, steps in total["dropped"].items() if steps}
        figures = [
            none_of("accounts that do not close", open_accounts(ledger)),
            none_of("dppo ledger finds", self.audited()),
            reported("steps sealed", total["sealed"]),
            reported("steps trained", total["trained"]),
            reported("steps dropped", " ".join(f"{reason} {steps}" for reason, steps in dropped.items()) or "none"),
        ]
        if self.plan.env == PACED:
            figures.append(self._counted_figure(total["sealed"], total["unknown"]))
        return figures

    def audited(self) -> list[str]:
        """Problems that `dppo ledger` finds in the run's books, as they are on the disk now."""
        try:
            return list(audit(self.watch.path).problems)
        except DppoError as error:
            return [str(error)]

    def _counted_figure(self, sealed: int, unknown: int) -> Figure:
        """The environments' own count against the ledger's: equal where no actor was killed with its open segment.

        unknown: the most that dead actors may have sealed beyond what the ledger knows, nine segments or more for each.
        """
        counted = counted_steps(self.counts)
        deaths = sum(worker.violent_deaths for worker in [*self.actors, *self.others])
        if deaths == 0:
            return holds("steps counted by the environments = sealed", counted == sealed, f"{counted} != {sealed}")
        most = unknown + unknown // 9  # with the open segments
        bounds = f"0..{most}"
        untold = counted - sealed
        return Figure(
            "steps that dead actors had not told of", untold, f"in {deaths} deaths", bounds, 0 <= untold <= most
        )


def only_dropped(cluster: Cluster, *reasons: str) -> Figure:
    """After `finish`: no step was dropped for another reason."""
    dropped = cluster.watch.ledger()["total"]["dropped"]
    others = [f"{reason} {steps}" for reason, steps in dropped.items() if steps and reason not in reasons]
    return none_of(f"steps dropped otherwise than {', '.join(reasons)}", others)


def is_root() -> bool:
    """Whether hosts and file systems can be made here."""
    return os.name == "posix" and os.geteuid() == 0
