"""The thread that owns the learner's socket: feeds the session, sends what it says, reports twice a second.

The session is shared with the training thread under one lock, and reached by it through methods that take it; the
socket is not shared at all. What is logged and shown is logged and shown without the lock.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from dppo.learner.failpoints import reach
from dppo.learner.ppo.batch import Received
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Action, Kick, Note, Send
from dppo.learner.session.session import LearnerSession
from dppo.learner.storage.journal_records import Entry
from dppo.learner.telemetry.status import Status
from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.learner.transport.ingress_guard import IngressGuard
from dppo.protocol.account import DropReason
from dppo.protocol.codec import encode, enveloped
from dppo.protocol.process.heartbeat_file import HealthFile
from dppo.protocol.specs import Spec
from dppo.protocol.transport.router import Router

Answer = TypeVar("Answer")

log = logging.getLogger("dppo.learner")

TICK_SECONDS = 0.05
STATUS_SECONDS = 0.5
REVOCATION_SECONDS = 1.0  # a revoked token is of no use any more after this
SETTLE_SECONDS = 0.01  # most that publishing waits for actors far away


class Network:
    """Runs a LearnerSession on a Router in a thread of its own."""

    def __init__(
        self,
        router: Router,
        session: LearnerSession,
        record: Callable[[Entry], None],
        authenticator: TokenAuthenticator | None = None,
        *,
        collected: Callable[[int, int], None] | None = None,
        status: Callable[[LearnerSession, float], Status] | None = None,
        observe: Callable[[Status], None] | None = None,
    ) -> None:
        """record: called under `lock`, before what depends on the entry is sent.

        authenticator: which tokens are valid; None where none is needed.
        collected: called in the network thread with version and steps of the batch, often; returns at once.
        status: called in the network thread with the session, locked, every half second; makes what is observed.
        observe: called in the network thread, not locked; returns at once, whatever the user's terminal does.
        """
        self._session = session  # touched under the lock, by either thread
        self._lock = threading.Lock()
        self._router = router
        self._record = record
        self._collected = collected
        self._status = status
        self._observe = observe
        self._notes: list[str] = []  # to be logged without the lock
        self._authenticator = authenticator
        self._ingress_guard = IngressGuard(router, session, authenticator)
        self._outgoing: deque[Send] = deque()
        self._batches: queue.Queue[list[Received]] = queue.Queue()
        self._handed_over: list[Received] | None = None  # the newest batch that the trainer got
        self._spec = threading.Event()
        self._settled = threading.Event()  # every policy sent has been loaded
        self._closing = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    # Called by the training thread

    def spec(self, timeout: float) -> Spec | None:
        """Return the spec, once an actor has sent it."""
        self._spec.wait(timeout)
        self._raise_failure()
        return self.ask(lambda session: session.peer_table.spec)

    @property
    def joined(self) -> int:
        """Actors that are ready to act."""
        return self.ask(lambda session: sum(peer.ready for peer in session.peer_table.peers.values()))

    def settle_spaces(self, spec: Spec) -> None:
        """Fix the run's spaces; actors that have sent others are refused."""
        with self._lock:
            self._act(self._session.settle_spaces(spec))
        self._router.wake()

    def batch(self, timeout: float) -> list[Received] | None:
        """The next full batch, None when the time is over first."""
        self._raise_failure()
        with suppress(queue.Empty):
            return self._batches.get(timeout=timeout)
        return None

    def ask(self, question: Callable[[LearnerSession], Answer]) -> Answer:
        """Return the result of `question`, called with the session under the lock. `question` must not block."""
        with self._lock:
            return question(self._session)

    def publish_and_wait(self, version: int, graph: bytes) -> None:
        """Publish a policy; return when all have loaded it, or a moment later.

        Waiting here is what makes it fast: a training thread that ran on would keep the interpreter to itself for up to
        5 ms at a time, and a core from the actors, while every actor is idle. What it has to do can be done while they
        step.
        """
        with self._lock:
            self._settled.clear()
            self._act(self._session.publish(version, graph, time.monotonic()))
        self._router.wake()
        self._settled.wait(SETTLE_SECONDS)

    def end_collecting(self, version: int) -> None:
        """Stop collecting under that version. Called by any thread."""
        with self._lock:
            self._act(self._session.end_collecting(version, time.monotonic()))
        self._router.wake()

    def finish(self, reason: str, drop: DropReason) -> None:
        """End the run and wait until the actors have sent their last messages (the session bounds the wait)."""
        with self._lock:
            self._act(self._session.finish(reason, drop, time.monotonic()))
        self._await_end()

    def leave(self) -> None:
        """End this learner but not its run: actors stop and wait for the next one (the session bounds the wait)."""
        with self._lock:
            self._act(self._session.leave(time.monotonic()))
        self._await_end()

    def _await_end(self) -> None:
        self._router.wake()
        while self._thread.is_alive() and self.ask(lambda session: session.cycle.phase) is not Phase.STOPPED:
            time.sleep(0.005)
        self.ask(LearnerSession.close_accounts)

    def close(self) -> None:
        """End the thread, then the socket. Raises what ended the thread before, if it was not raised yet."""
        self._closing.set()
        self._router.wake()
        self._thread.join()
        self._router.close()
        self._tell(None)
        self._raise_failure()

    def fail(self, error: BaseException) -> None:
        """Have the training thread raise this when it next asks for something. Called by any thread."""
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # The thread

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001 -- a bug here must end the process, not just this thread
            self._failure = error
            self._spec.set()

    def _serve(self) -> None:
        health = HealthFile()
        tick_at = report_at = tend_at = 0.0
        while not (self._closing.is_set() and not self._outgoing):
            self._router.wait(TICK_SECONDS)
            with self._lock:
                self._take_in()
                now = time.monotonic()
                if now >= tick_at:
                    tick_at = now + TICK_SECONDS
                    self._act(self._ingress_guard.tick(now))
                    self._act(self._session.tick(now))
                self._hand_over()
                if self._collected is not None:
                    self._collected(self._session.cycle.snapshot.version, self._session.cycle.batch.steps)
                if self._session.peer_table.spec is not None:
                    self._spec.set()
                status = None
                if self._status is not None and now >= report_at:
                    report_at = now + STATUS_SECONDS
                    status = self._status(self._session, now)
            self._send_out()
            self._tell(status)
            with self._lock:
                self._hand_over()  # STOP may have been unsendable, and its peer the last one awaited
                if not self._settled.is_set() and self._session.cycle.all_have_loaded:
                    self._settled.set()
            if self._authenticator is not None and now >= tend_at:
                tend_at = now + REVOCATION_SECONDS
                self._tend(self._authenticator, now)
            health.touch(now)

    def _tend(self, authenticator: TokenAuthenticator, now: float) -> None:
        """Look after the ZAP handler, and disconnect peers whose token has ended."""
        if self._router.guard is not None:
            self._router.guard.tend()
        authenticator.flush()
        authenticator.refresh()
        with self._lock:
            self._act(self._session.expel(authenticator.is_valid, now))

    def _tell(self, status: Status | None) -> None:
        with self._lock:
            notes, self._notes = self._notes, []
        for text in notes:
            log.info(text)
        if status is not None and self._observe is not None:
            self._observe(status)

    def _hand_over(self) -> None:
        """Give the batch to the trainer, once, however the phase came to be UPDATING."""
        cycle = self._session.cycle
        if cycle.phase is Phase.UPDATING and cycle.taken.rollouts is not self._handed_over:
            self._handed_over = cycle.taken.rollouts
            self._batches.put(self._handed_over)

    def _take_in(self) -> None:
        for actions in self._ingress_guard.arrivals(time.monotonic):
            self._act(actions)

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    self._ingress_guard.sending(action)
                    self._outgoing.append(action)
                case Entry():
                    self._record(action)
                    if action.kind == "accepted":
                        reach("after-accept")
                case Kick():
                    self._ingress_guard.kick(action, time.monotonic())
                case Note():
                    self._notes.append(action.text)

    def _send_out(self) -> None:
        while self._outgoing:
            send = self._outgoing.popleft()
            connection, incarnation = send.peer
            if not self._router.send(connection, enveloped(encode(send.message), incarnation), send.blob):
                with self._lock:
                    self._act(self._ingress_guard.unsendable(connection, time.monotonic()))
