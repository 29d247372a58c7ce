"""A whole run in one process without sockets: the same sessions, run one after the other. For debugging, and for people
who want PPO without the processes.
"""

import functools
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress

from dppo.actor.driver import ActorDriver
from dppo.actor.session.traced_session import new_session
from dppo.actor.watchdog.thread import Watchdog
from dppo.actor.watchdog.traceback_location import with_place
from dppo.learner.hooks import HookError, hook_calls
from dppo.learner.numerics import own_numerics
from dppo.learner.opening import open_run
from dppo.learner.ppo.batch import Received
from dppo.learner.run import Run
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Action, Kick, Latencies, Note, PeerKey, Send
from dppo.learner.session.session import LearnerSession
from dppo.learner.signals import Interrupted
from dppo.learner.status_reporter import Reporter
from dppo.learner.storage.books import Books
from dppo.learner.storage.journal_records import Entry
from dppo.learner.training_loop import train
from dppo.local.drawing_thread import Screen
from dppo.local.log_files import made_logs, trace_of, tracing
from dppo.local.run_comparison import kept_settings
from dppo.local.surroundings import kept_surroundings
from dppo.protocol.codec import decode_from_actor, decode_from_learner, encode
from dppo.protocol.errors import DppoError, RefusedError
from dppo.protocol.process.household import handle_here_only, logged_if_killed
from dppo.protocol.process.launch_time import launched_at
from dppo.protocol.process.quick_imports import quick_imports
from dppo.protocol.texts import error_text
from dppo.protocol.trace import Trace
from dppo.settings.commands import TrainConfig
from dppo.watch.recorder import Recorder
from dppo.watch.side_processes import SideProcesses

PEER = PeerKey(b"inline")
STATUS_SECONDS = 0.5
CLOSE_SECONDS = 5.0  # for environments
RESUME = "start the same command again to go on from the newest checkpoint"
NO_LEASE_SECONDS = 1e9  # both sides are this process: a long update or step is no silence


def run_inline(
    config: TrainConfig,
    progress: Screen,
    recorder: Recorder | SideProcesses,
    *,
    hooks: object | None = None,
    is_traced: bool = False,
) -> bool:
    """Train in this process; returns whether the user interrupted the run.

    hooks: an object in place of run.hooks. is_traced: events go to files in logs/.
    """
    stop: list[int] = []
    calls = hook_calls(config.learner.run.hooks, hooks, interrupted=lambda: bool(stop))

    def end(number: int, frame: object) -> None:
        if stop:  # the step of an environment that never ends can only be broken off
            raise KeyboardInterrupt
        stop.append(number)
        progress.note("ending after this step or update (again to end at once)")

    previous = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def keep_signals() -> None:
        for n in previous:
            if signal.getsignal(n) != end:  # an environment has taken it for itself
                handle_here_only(n, end)

    keep_signals()
    try:
        settings = functools.partial(kept_settings, config)
        run = open_run(
            config.learner,
            settings,
            launched_at=launched_at(),
            time_of_day=time.time(),
            note=progress.note,
            hooks=calls,
        )
        with run.directory, progress, kept_surroundings(), ExitStack() as files:  # what the screen gives up stays so
            logs = made_logs(run.directory.path) if is_traced else None
            traces = [
                files.enter_context(tracing(trace_of(logs, name) if logs is not None else None, side))
                for name, side in (("learner", "learner"), ("actor-0", "actor"))
            ]
            Inline(run, progress, recorder, stop, *traces, keep_signals=keep_signals).train()
    except KeyboardInterrupt as error:
        if stop:
            raise
        raise DppoError(
            f"KeyboardInterrupt was raised and no Ctrl-C came, so by code of yours: {with_place(error)}"
        ) from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return bool(stop)


class Inline:
    """One actor and the learner, taking turns."""

    def __init__(
        self,
        run: Run,
        progress: Screen,
        recorder: Recorder | SideProcesses,
        stop: list[int],
        learner_trace: Trace | None = None,
        actor_trace: Trace | None = None,
        *,
        keep_signals: Callable[[], None] = lambda: None,
    ) -> None:
        """keep_signals: called now and then, because an environment may handle signals itself."""
        self._run = run
        self._keep_signals = keep_signals
        self._progress = progress
        self._recorder = recorder
        self._stop = stop
        self._reporter = Reporter(run)
        self._session: LearnerSession = run.session(lease_seconds=NO_LEASE_SECONDS, trace=learner_trace)
        actor = new_session(actor_trace, actor="actor-0", envs=0)
        self._driver = ActorDriver(actor, note=progress.note, note_reported=lambda text: None)  # one screen for both
        self._to_actor: deque[Send] = deque()
        self._shown_at = 0.0
        self.collecting_since = 0.0  # when the newest batch began
        self._noted_turn = -1  # of the environments, that was reported to be stuck

    def train(self) -> None:
        """Until the run is over or interrupted."""
        # reports and never ends: the user of a run in one process may be in a debugger
        watchdog = Watchdog(self._driver.activity, tell=self._note_stuck, must_end=None)
        watchdog.start()
        try:
            with logged_if_killed("the run", RESUME):
                self._train()
        finally:
            watchdog.close()

    def _note_stuck(self, where: str) -> None:
        turn = self._driver.activity.turns
        if turn != self._noted_turn:
            self._noted_turn = turn
            self._progress.note(f"stuck {where}")

    def _train(self) -> None:
        run, session = self._run, self._session
        self._driver.connected()
        while session.peer_table.spec is None:
            self._turn()
        with quick_imports():
            import dppo.learner.ppo.trainer  # noqa: F401 -- torch
        with own_numerics():
            version, graph = run.prepare(session.peer_table.spec)
        if not run.over:
            self.publish_next(version, graph)
        failure: HookError | None = None
        try:
            with suppress(Interrupted):
                train(run, self, time.monotonic)
        except HookError as error:
            failure = error
        reason = f"failed: {failure}" if failure is not None else run.over or "interrupted"
        self._do(session.finish(reason, "shutdown", time.monotonic()))
        while session.cycle.phase is not Phase.STOPPED:
            self._turn()
        session.close_accounts()
        self._show(time.monotonic())
        try:
            run.close(reason, self.books(), time.monotonic())
        finally:
            self._close_environments()  # last: whatever it does, the run is saved
        if failure is not None:
            raise failure

    def _close_environments(self) -> None:
        """Close them; that they raise or hang is logged, and costs nothing."""

        def late(number: int, frame: object) -> None:
            raise TimeoutError(f"it takes more than {CLOSE_SECONDS:g} s")

        previous = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, CLOSE_SECONDS)
        try:
            self._driver.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a simulator raises: it is not needed any more
            self._progress.note(f"closing the environments failed: {type(error).__name__}: {error_text(error)}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)

    # Collecting, for the training loop

    def next_batch(self) -> list[Received]:
        """Take turns until the batch is there. Raises Interrupted once the user has interrupted the run."""
        session = self._session
        self.collecting_since = time.monotonic()  # nothing is collected while the loop is at work
        while session.cycle.phase is not Phase.UPDATING:
            if self._stop:
                raise Interrupted
            self._run.directory.check_lock(time.monotonic())
            self._turn()
            if self._run.progress.first_step_seconds is None and session.cycle.batch.rollouts:
                self._run.note_first_step(time.monotonic())
        return session.cycle.taken.rollouts

    def cutting(self) -> AbstractContextManager[None]:
        """Return a context that lets every update end."""
        return nullcontext()

    def latencies(self) -> tuple[Latencies, int]:
        """Return latencies of the newest batch, and restarted environments."""
        return self._session.cycle.latencies, self._session.ledger.env_restarts

    def publish_next(self, version: int, graph: bytes) -> None:
        """Publish a policy."""
        self._do(self._session.publish(version, graph, time.monotonic()))

    def mark_trained(self) -> None:
        """Book the last batch as trained."""
        self._session.mark_trained()

    def books(self) -> Books:
        """Return where every step is now."""
        return self._run.books(self._session)

    def _turn(self) -> None:
        """One step of the actor if it may, and all messages in both directions, through the codec as on a wire."""
        driver, session = self._driver, self._session
        if driver.may_step:
            driver.step()
        outgoing, driver.outgoing = driver.outgoing, []
        for send in outgoing:
            message = decode_from_actor(encode(send.message), send.blob is not None)
            self._do(session.receive(PEER, message, send.blob, time.monotonic()))
        while self._to_actor:
            sent = self._to_actor.popleft()
            driver.handle(decode_from_learner(encode(sent.message), sent.blob is not None), sent.blob)
        if driver.exit is not None and driver.exit.code:
            raise (RefusedError if driver.exit.code == 3 else DppoError)(driver.exit.reason)
        now = time.monotonic()
        if now - self._shown_at > STATUS_SECONDS:
            self._shown_at = now
            self._keep_signals()
            driver.tick()
            self._do(session.tick(now))
            self._show(now)

    def _show(self, now: float) -> None:
        status = self._reporter.status(self._session, now)
        self._progress.show(status)
        self._recorder.look(status)

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    self._to_actor.append(action)
                case Entry():
                    self._run.journal.append(action)
                case Note():
                    self._progress.note(action.text)
                case Kick():
                    raise RuntimeError("the actor in this process sent what no actor sends")
