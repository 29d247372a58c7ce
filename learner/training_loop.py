"""The training loop: take a batch, update, publish, record, save, call hooks. Driven by service and `--actors 0`.

Knows the run and what it needs of the side that collects; knows no sockets, no threads and no session. Keeps no clock.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from dppo.learner.numerics import own_numerics
from dppo.learner.ppo.batch import Received
from dppo.learner.run import Run
from dppo.learner.session.records import Latencies
from dppo.learner.storage.books import Books
from dppo.learner.storage.version_log import VersionLog


class Collecting(Protocol):
    """The side that collects: session and actors, in another thread or by turns."""

    collecting_since: float  # when collecting the batch that `next_batch` returns began

    def next_batch(self) -> list[Received]:
        """Return the next full batch. Raises Interrupted where the user ends the run first."""
        ...

    def cutting(self) -> AbstractContextManager[None]:
        """Return the context of an update. It may raise Abandoned, which leaves the weights in between."""
        ...

    def latencies(self) -> tuple[Latencies, int]:
        """Return latencies of the newest batch, and restarted environments of all actors."""
        ...

    def publish_next(self, version: int, graph: bytes) -> None:
        """Send the policy to all actors: they go on with it."""
        ...

    def mark_trained(self) -> None:
        """Book the batch as trained where no policy follows."""
        ...

    def books(self) -> Books:
        """Return where every step is now."""
        ...


def train(run: Run, collecting: Collecting, clock: Callable[[], float]) -> None:
    """Train until the run is over. The first policy is published before. Raises what `collecting` raises; HookError."""
    versions = VersionLog(run.directory.path) if run.config.collect.rule == "quota" else None
    while not run.over:
        batch = collecting.next_batch()
        with own_numerics():
            _train_on(batch, run, collecting, clock, versions)
        run.call_hooks(batch)


def _train_on(
    batch: list[Received],
    run: Run,
    collecting: Collecting,
    clock: Callable[[], float],
    versions: VersionLog | None,
) -> None:
    """Update, publish, record, save."""
    full_at = clock()
    with collecting.cutting():
        report = run.update(batch)
    run.commit(batch, report, full_at)
    latencies, env_restarts = collecting.latencies()
    updated_at = clock()
    timing = {
        "collect": full_at - collecting.collecting_since,
        "update": updated_at - full_at,
        "stop": latencies.stop,
        "policy": latencies.policy,
    }
    version, graph = run.next_graph()
    if versions is not None:
        versions.add(version, graph, batch)
    if run.over:
        collecting.mark_trained()
    else:
        collecting.publish_next(version, graph)
    run.record(report, timing, env_restarts, updated_at)
    if run.checkpoint_due(updated_at):
        saving_since = clock()
        run.save(collecting.books(), updated_at)
        run.saving_took(clock() - saving_since)
