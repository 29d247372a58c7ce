"""What the learner's two threads share: the session under its lock, and frozen records; signals between two updates."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from test_network import DeadEnd

from dppo.learner import service as shell
from dppo.learner.config import CollectConfig, LearnerConfig, NetworkConfig, PpoConfig, RunConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.run import Run
from dppo.learner.run_status import RunStatus
from dppo.learner.session.batch_in_hand import BatchInHand
from dppo.learner.session.phases import Phase
from dppo.learner.session.session import LearnerSession
from dppo.learner.signals import EndSignals
from dppo.learner.status_reporter import Reporter
from dppo.learner.storage.run_directory import RunDirectory
from dppo.learner.telemetry.status import Status
from dppo.learner.transport.network_thread import Network
from dppo.protocol.ledger import Ledger
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Leaf, Spec
from dppo.protocol.transport.router import Router

ALICE = b"alice---"
STEPS = 8
SPEC = Spec((Leaf("observation", "<f4", (3,), "box"),), (Leaf("action", "<i8", (), "discrete", categories=2),))
CONFIG = LearnerConfig(
    collect=CollectConfig(batch_steps=STEPS),
    ppo=PpoConfig(epochs=1, minibatch_steps=STEPS),
    network=NetworkConfig(policy_hidden=(2,), critic_hidden=(2,)),
    run=RunConfig(checkpoint_seconds=100.0, tensorboard=False),
)
PATIENCE_SECONDS = 20.0


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with RunDirectory.open(tmp_path / "run") as directory:
        yield Run(CONFIG, directory, launched_at=0.0)


class Guarded:
    """A session that may only be touched under the network's lock."""

    def __init__(self, session: LearnerSession, network: Callable[[], Network]) -> None:
        self._inner = session
        self._network = network
        self.touched: set[str] = set()  # names of threads

    def __getattr__(self, name: str) -> Any:
        assert self._network()._lock.locked(), f"session.{name} without its lock"
        self.touched.add(threading.current_thread().name)
        return getattr(self._inner, name)


def test_nothing_of_the_session_is_touched_without_its_lock(run: Run) -> None:
    networks: list[Network] = []
    observed: list[Status] = []
    session = Guarded(run.session(), lambda: networks[0])

    router = cast(Router, DeadEnd())
    status = Reporter(run).status
    networks.append(
        Network(router, cast(LearnerSession, session), run.journal.append, status=status, observe=observed.append)
    )
    (network,) = networks
    network.start()
    try:
        assert network.spec(0.0) is None
        network.publish_and_wait(1, b"graph")
        assert network.batch(0.0) is None
        books = network.ask(run.books)
        assert books.ledger["total"]["sealed"] == 0
        network.finish("the end", "shutdown")
        until = time.monotonic() + PATIENCE_SECONDS
        while not observed and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        network.close()
    assert observed
    assert session.touched == {"MainThread", "network"}


def test_a_status_is_observed_without_the_lock(run: Run) -> None:
    """A terminal that takes nothing must not keep the session from anybody."""
    blocked, observed = threading.Event(), threading.Event()

    def observe(status: Status) -> None:
        observed.set()
        blocked.wait(PATIENCE_SECONDS)

    network = Network(
        cast(Router, DeadEnd()), run.session(), run.journal.append, status=Reporter(run).status, observe=observe
    )
    network.start()
    try:
        assert observed.wait(PATIENCE_SECONDS)
        since = time.monotonic()
        network.ask(lambda session: session.cycle.phase)
        network.publish_and_wait(1, b"graph")
        assert time.monotonic() - since < PATIENCE_SECONDS / 2
    finally:
        blocked.set()
        network.close()


def test_the_reporter_reads_of_a_run_only_what_its_thread_has_published() -> None:
    """All else of it may change under the reader's hands: 'deque mutated during iteration'."""
    published = RunStatus(
        updates=3,
        steps=40,
        episodes=2,
        mean_return=1.5,
        median_return=1.25,
        return_outliers=0,
        outliers=0,
        steps_left_out=0,
        success_rate=None,
        first_step_seconds=0.25,
        metrics={"kl": 0.1},
    )
    directory = SimpleNamespace(path=Path("runs/x"))
    stub = SimpleNamespace(config=CONFIG, directory=directory, launched_at=1.0, published=published)
    reporter = Reporter(cast(Run, stub))
    del stub.config, stub.directory, stub.launched_at
    stub.published = replace(published, updates=4)
    session = SimpleNamespace(
        ledger=Ledger(), peer_table=SimpleNamespace(peers={}),
        cycle=SimpleNamespace(
            unstopped=list, phase=Phase.STOPPED, snapshot=SimpleNamespace(version=7), batch=BatchInHand()
        ),
    )  # fmt: skip
    status = reporter.status(cast(LearnerSession, session), 3.0)
    assert (status.updates, status.steps, status.mean_return, status.metrics) == (4, 40, 1.5, {"kl": 0.1})


def test_what_is_published_is_never_changed_afterwards(run: Run) -> None:
    before = run.published
    run.prepare(SPEC)
    report = run.update([received()])
    assert run.published is before
    run.commit([received()], report, 1.0)
    assert (before.updates, run.published.updates, run.published.steps) == (0, 1, STEPS)


# Signals


def received() -> Received:
    noise = np.random.default_rng(1)
    observation = noise.standard_normal((STEPS + 1, 1, 3)).astype(np.float32)
    flags = np.zeros((STEPS, 1), bool)
    segment = Segment(
        {"observation": observation},
        {"action": np.zeros((STEPS, 1), np.int64)},
        {},
        {},
        np.full((STEPS, 1), np.log(0.5), np.float32),
        np.ones((STEPS, 1), np.float32),
        flags,
        flags.copy(),
        np.ones((STEPS, 1), bool),
        {"observation": np.zeros((0, 3), np.float32)},
        np.ones(1, np.float32),
        np.array([STEPS], np.int32),
        np.array([0], np.int32),
        np.array([1.0], np.float32),
    )
    return Received("alice", ALICE, 1, 0, segment)


class OneBatch:
    """A network that brings one batch, and then waits for the signal that ends the run."""

    def __init__(self, session: LearnerSession) -> None:
        self._session = session
        self._brought = False
        self.published: list[int] = []
        self.joined = 1

    def spec(self, timeout: float) -> Spec:
        return SPEC

    def ask(self, question: Callable[[LearnerSession], Any]) -> Any:
        return question(self._session)

    def publish_and_wait(self, version: int, graph: bytes) -> None:
        self.published.append(version)
        self._session.publish(version, graph, 0.0)

    def batch(self, timeout: float) -> list[Received] | None:
        if self._brought:
            os.kill(os.getpid(), signal.SIGTERM)
            return None
        self._brought = True
        cycle = self._session.cycle
        self._session.ledger.open(ALICE, "alice").accept(1, STEPS, batch=cycle.batch.number)
        cycle.phase = Phase.UPDATING
        return [received()]


def interrupted_at(place: int, path: Path) -> tuple[int, int]:
    """Two signals at once before that line of the training loop is run; (lines of it there were, updates that count).

    The second one cuts an update off that could go on for longer.
    """
    seen = 0
    files = (shell.__file__, sys.modules[Run.__module__].__file__)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            seen += 1
            if seen == place:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
        return trace

    with RunDirectory.open(path) as directory:
        run = Run(CONFIG, directory, launched_at=0.0)
        run.spec = SPEC  # as a checkpoint would have it
        session = run.session()
        network = OneBatch(session)
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)}
        try:
            stop = EndSignals(0.0)
            sys.settrace(trace)
            reason = shell._train(run, cast(Network, network), stop)
        finally:
            sys.settrace(None)
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)
        assert reason is None
        session.ledger.drop_pending("shutdown")
        books = run.books(session)
        run.close("interrupted", books, 1.0)
    with RunDirectory.open(path) as directory:
        kept = Run(CONFIG, directory, launched_at=0.0)
    total = session.ledger.total()
    assert (kept.progress.updates, kept.progress.steps) == (run.progress.updates, run.progress.steps)
    assert run.progress.steps == total.trained == STEPS * run.progress.updates
    assert total.sealed == total.trained + total.dropped["shutdown"]
    assert kept.episodes.total == run.progress.updates  # its one episode is counted if its batch is
    assert len(network.published) <= 1 + run.progress.updates
    assert (kept.progress.updates > 0) == (kept._checkpoint is not None and kept._checkpoint.update > 0)
    return seen, run.progress.updates


@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_a_signal_at_any_point_between_two_updates_loses_nothing_that_is_done(tmp_path: Path, stride: int) -> None:
    lines, updates = interrupted_at(0, tmp_path / "calm")
    assert (lines > 60, updates) == (True, 1)
    counted = [interrupted_at(place, tmp_path / f"{place}")[1] for place in range(1, lines + 1, stride)]
    done = counted.index(1)  # from the first line on at which the update was done it is kept
    assert counted == [0] * done + [1] * (len(counted) - done)
