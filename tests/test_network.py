"""The network thread hands every full batch to the trainer, whatever it was that filled it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from dppo.learner.session.phases import Phase
from dppo.learner.session.rate_limit import PeerLimits
from dppo.learner.session.records import Action, PeerKey, Send
from dppo.learner.session.session import LearnerSession
from dppo.learner.storage.journal_records import Entry
from dppo.learner.transport.network_thread import Network
from dppo.protocol.messages import Who
from dppo.protocol.transport.router import Router

PATIENCE_SECONDS = 20.0


class DeadEnd:
    """A router whose peers are all gone."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def wait(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()

    def read(self) -> Iterator[Any]:
        return iter(())

    def send(self, *_: object) -> bool:
        return False

    def departed(self) -> list[bytes]:
        return []

    def disconnect(self, peer: bytes) -> bool:
        return False

    def end_excess(self, *_: object) -> list[Any]:
        return []

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        pass


class StoppingSession:
    """Its only peer dies before STOP reaches it: the phase moves on when the message cannot be sent."""

    def __init__(self) -> None:
        self.cycle = SimpleNamespace(
            phase=Phase.COLLECTING, taken=SimpleNamespace(rollouts=["the batch"]), all_have_loaded=True
        )
        self.peer_table = SimpleNamespace(spec=None, peers={}, peer_limits=PeerLimits())
        self.budget = SimpleNamespace(allowed_bytes=lambda peer: 0, total_bytes=lambda: 0)

    def tick(self, now: float) -> list[Action]:
        if self.cycle.phase is not Phase.COLLECTING:
            return []
        self.cycle.phase = Phase.STOPPING
        return [Send(PeerKey(b"gone"), Who())]

    def unreachable(self, peer: bytes, now: float) -> list[Action]:
        self.cycle.phase = Phase.UPDATING
        return []

    def publish(self, version: int, graph: bytes, now: float) -> list[Action]:
        self.cycle.phase, self.cycle.taken.rollouts = Phase.COLLECTING, ["the next batch"]
        return []


def no_entry(entry: Entry) -> None:
    raise AssertionError(f"nothing was accepted: {entry}")


def test_a_batch_that_became_full_because_a_peer_was_unreachable_reaches_the_trainer_once() -> None:
    session = StoppingSession()
    network = Network(cast(Router, DeadEnd()), cast(LearnerSession, session), no_entry)
    network.start()
    try:
        assert network.batch(PATIENCE_SECONDS) == ["the batch"]
        network.publish_and_wait(2, b"")
        assert network.batch(PATIENCE_SECONDS) == ["the next batch"]
        assert network.batch(0.0) is None
    finally:
        network.close()


def test_signals_do_not_make_the_wait_for_a_batch_endless() -> None:
    """They end it early or not at all: in its last moment one made it wait for ever, SIGTERM among them."""
    network = Network(cast(Router, DeadEnd()), cast(LearnerSession, StoppingSession()), no_entry)
    waited, done, hanging = [0], threading.Event(), threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: None)

    def keep_the_interpreter_busy() -> None:
        while not done.is_set():
            sum(range(2000))
            time.sleep(0.0001)

    def send_signals() -> None:
        seen, since = 0, time.monotonic()
        while not done.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.001)
            if waited[0] > seen:
                seen, since = waited[0], time.monotonic()
            elif time.monotonic() - since > PATIENCE_SECONDS:
                hanging.set()
                network._batches.put([])  # or nobody would hear of it

    threads = [threading.Thread(target=work) for work in (keep_the_interpreter_busy, send_signals)]
    try:
        for thread in threads:
            thread.start()
        while waited[0] < 500 and not hanging.is_set():
            network.batch(0.002)
            waited[0] += 1
    finally:
        done.set()
        for thread in threads:
            thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert not hanging.is_set()
