"""Runs of one learner under many simulated actors, by way of relays or not, and the cost of each. For scripts.scaling.

Processes, keys, sockets and sessions are the real ones; environments and training are not there. Actors and relays are
on this machine, so each actor of a relay comes by ipc, and what is encrypted is the way to the learner.
"""

import contextlib
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from dppo.local.child_process import ChildProcess, end_all
from dppo.protocol.errors import DppoError
from dppo.protocol.process.lifeline import Lifeline
from scripts.chaos.load_processes import LoadLearner, simulated_actors
from scripts.ports import free_port

SETTLE_SECONDS = 3.0  # after all have joined
PROCESSES = 4  # of simulated actors


@dataclass(frozen=True)
class Load:
    """Size and pace of one run."""

    actors: int
    relays: int  # 0: each actor has a connection of its own
    pause_seconds: float = 1.0  # from one rollout of an actor to its next
    version_seconds: float = 2.0  # from one policy to the next, about
    rows: int = 16  # steps of a rollout
    policy_bytes: int = 30_000

    @property
    def batch_steps(self) -> int:
        """Steps that come in `version_seconds`."""
        return max(1, round(self.actors * self.version_seconds / self.pause_seconds)) * self.rows


@dataclass(frozen=True)
class Cost:
    """Figures of one run, in sum over its seconds where no unit is named."""

    seconds: float
    rollouts: int
    versions: int
    network_cpu: float  # CPU seconds of the learner's network thread
    learner_cpu: float  # of its whole process, libzmq's threads and encryption among it
    relay_cpu: float  # of all relays
    relay_megabytes: float  # of one
    policy_bytes_per_version: float  # that left the learner
    other_bytes_per_second: float
    stop_milliseconds: float  # from STOP to the last answer, the median
    stop_milliseconds_worst: float


def measure(load: Load, seconds: float) -> Cost:
    """Run it for that long. Raises DppoError where the actors do not get to work."""
    with tempfile.TemporaryDirectory(prefix="dppo-scaling-") as name, contextlib.ExitStack() as stack:
        directory, rows = Path(name), str(load.rows)
        learner = LoadLearner(
            f"tcp://127.0.0.1:{free_port()}", directory,
            *("--policy-bytes", str(load.policy_bytes), "--batch-steps", str(load.batch_steps), "--rows", rows),
        )  # fmt: skip
        stack.callback(learner.end)
        if learner.until(lambda figures: True) is None:
            raise DppoError("the learner does not start")
        relays = stack.enter_context(_relays(directory, load.relays))
        places = [f"ipc://{directory}/relay-{number}" for number in range(load.relays)] or [""]
        for number, place in enumerate(places):
            first, last = number * load.actors // len(places), (number + 1) * load.actors // len(places)
            processes = max(1, PROCESSES // len(places))
            options = ("--pause", str(load.pause_seconds), "--rows", rows, *(("--learner", place) if place else ()))
            stack.enter_context(simulated_actors(directory / "join", first, last - first, processes, *options))
        if learner.until(lambda figures: figures["ready"] >= load.actors) is None:
            raise DppoError(f"{load.actors} actors do not join")
        time.sleep(SETTLE_SECONDS)
        start, cpu = learner.figures[-1], _cpu(relays)
        time.sleep(seconds)
        end, used = learner.figures[-1], _cpu(relays) - cpu
        megabytes = max((psutil.Process(one.pid).memory_info().rss / 1e6 for one in relays), default=0.0)
        if end["ready"] < load.actors:
            raise DppoError(f"{end['ready']} of {load.actors} actors are left")
        return _cost(learner.between(start["at"], end["at"] + 1e-3), load.rows, used, megabytes)


def _cost(figures: list[dict[str, Any]], rows: int, relay_cpu: float, relay_megabytes: float) -> Cost:
    first, last = figures[0], figures[-1]
    grown = {name: last[name] - first[name] for name in first if name not in ("stops", "ready")}
    stops = [1000 * stop for one in figures[1:] for stop in one["stops"]]
    return Cost(
        grown["at"], grown["accepted"] // rows, grown["version"], grown["network_cpu"], grown["cpu"], relay_cpu,
        relay_megabytes, grown["policy_sent"] / max(1, grown["version"]), grown["other_sent"] / grown["at"],
        statistics.median(stops) if stops else 0.0, max(stops, default=0.0),
    )  # fmt: skip


@contextlib.contextmanager
def _relays(directory: Path, count: int) -> Iterator[list[ChildProcess]]:
    started: list[ChildProcess] = []
    with Lifeline() as lifeline:
        try:
            for number in range(count):
                bind = f"ipc://{directory}/relay-{number}"
                arguments = ("-m", "dppo", "relay", "--join-file", str(directory / "join"), "--bind", bind)
                with (directory / f"relay-{number}.log").open("wb") as log:
                    started.append(ChildProcess([*arguments, "--name", f"r{number}"], lifeline, stderr=log))
            yield started
        finally:
            end_all(started, 0.0, signal.SIGKILL)


def _cpu(processes: list[ChildProcess]) -> float:
    return sum(sum(psutil.Process(one.pid).cpu_times()[:2]) for one in processes)


def row(load: Load, cost: Cost) -> dict[str, Any]:
    """Return a row of the file."""
    return {**asdict(load), **asdict(cost)}
