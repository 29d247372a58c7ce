"""A learner process: clock, socket, signals, threads around session and run. Decides nothing."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Literal

from dppo.learner.config import LearnerConfig
from dppo.learner.devices import check_device, check_nccl
from dppo.learner.failpoints import check as check_failpoint
from dppo.learner.failpoints import reach
from dppo.learner.first_actors import await_first_actors, await_spaces, settle_spaces
from dppo.learner.group.membership import Membership
from dppo.learner.hooks import HookCalls, HookError, hook_calls
from dppo.learner.numerics import own_numerics
from dppo.learner.opening import open_run
from dppo.learner.own_code import find_function
from dppo.learner.ppo.batch import Received
from dppo.learner.run import Run
from dppo.learner.run_config import NCCL
from dppo.learner.session.records import Latencies
from dppo.learner.session.run_spaces import SpacesHere
from dppo.learner.session.session import LearnerSession
from dppo.learner.signals import Abandoned, EndSignals, Interrupted
from dppo.learner.status_reporter import Reporter
from dppo.learner.storage.books import Books
from dppo.learner.storage.settings_history import KeptSettings
from dppo.learner.telemetry.status import Status
from dppo.learner.training_loop import train
from dppo.learner.transport.listener import Listening, open_listener
from dppo.learner.transport.network_thread import Network
from dppo.protocol.actor_names import waiting_text
from dppo.protocol.ledger import imbalance
from dppo.protocol.process.launch_time import launched_at
from dppo.protocol.process.lifeline import watch_parent
from dppo.protocol.process.quick_imports import quick_imports
from dppo.protocol.specs import Spec
from dppo.protocol.trace import Trace

if TYPE_CHECKING:
    from dppo.learner.group.together import Together

log = logging.getLogger("dppo.learner")

WAIT_SECONDS = 0.1  # between looks at the signals
FAREWELL_SECONDS = 5.0  # an actor that is just starting, or waiting to connect again, comes within this


def run(
    config: LearnerConfig,
    *,
    listening: Listening,
    observe: Callable[[Status], None],
    settings: Callable[[], KeptSettings],
    afterwards: Callable[[bool], None] | None = None,
    on_signal: Literal["leave", "end"] = "leave",
    spaces_here: Future[SpacesHere] | None = None,
    trace: Trace | None = None,
    place: Membership | None = None,
) -> None:
    """Train until the run is over or a signal ends it. How it went is in summary.json.

    settings: what the run directory is to keep; called under its lock, before anything else is written there. Raises
    UsageError where the run in it is of other settings.
    on_signal: leave the actors waiting for the next learner, or end the run, and them with it.
    afterwards: called at the end with whether a signal ended the run, while actors that come late still get BYE.
    spaces_here: result of making the environment on this host, within a deadline; None where nothing makes it.
    trace: of the session's events; None: nothing is recorded.
    place: of this learner among several, which all run this; None: there is one.
    Raises UsageError where the directory or the address cannot be used, DppoError where training fails.
    """
    check_failpoint()
    watch_parent()
    hooks = _checked_hooks(config, place)
    stop = EndSignals()
    started = launched_at()
    with ExitStack() as stack:
        together, group = None, None
        if place is not None:
            together = _found(config, place, stop)
            group, config = together.group, place.config_of(config)
        this_run = open_run(config, settings, launched_at=started, time_of_day=time.time(), hooks=hooks, group=group)
        stack.callback(this_run.directory.close)
        reporter = Reporter(this_run)
        network = _start_network(stack, this_run, reporter, listening, observe, trace=trace, together=together)
        failure: HookError | None = None
        try:
            reason = _train(this_run, network, stop, spaces_here, together)
        except HookError as error:
            failure, reason = error, f"failed: {error}"
        _dismiss_actors(network, reason, leaves=on_signal == "leave")
        status = network.ask(lambda session: reporter.status(session, time.monotonic()))
        books = _last_books(this_run, network)
        observe(status if together is None else together.last(status))
        this_run.close(reason or "interrupted", books, time.monotonic())
        if failure is not None:
            raise failure
        if afterwards is not None:
            farewell_until = time.monotonic() + FAREWELL_SECONDS
            afterwards(bool(stop))
            while not stop and time.monotonic() < farewell_until:
                time.sleep(WAIT_SECONDS)


def _start_network(
    stack: ExitStack,
    run: Run,
    reporter: Reporter,
    listening: Listening,
    observe: Callable[[Status], None],
    *,
    trace: Trace | None,
    together: "Together | None",
) -> Network:
    """Open the port and start the thread that runs the session; the stack ends both."""
    opened = open_listener if together is None else together.open_listener
    router, authenticator = opened(listening, run.config.collect.max_rollout_bytes, run.directory.path)
    network = Network(
        router,
        run.session(trace=trace),
        run.journal.append,
        authenticator,
        collected=None if together is None else together.collected,
        status=reporter.status,
        observe=observe if together is None else together.observing(observe),
    )
    stack.callback(network.close)
    if together is not None:
        stack.callback(together.close)
        together.start(network)
    network.start()
    return network


def _dismiss_actors(network: Network, reason: str | None, *, leaves: bool) -> None:
    """Send BYE, or STOP where a signal came first (no reason) and the learner leaves its actors to the next one."""
    if reason is not None or not leaves:
        network.finish(reason or "interrupted", "shutdown")
        return
    log.info("this learner ends; its actors wait for the next one: the same command goes on with the run")
    waiting = network.ask(lambda session: [peer.actor for peer in session.peer_table.peers.values()])
    if waiting:
        log.info("%s", waiting_text(waiting))
    network.leave()


def _last_books(run: Run, network: Network) -> Books:
    """Return the books of all learners, once every actor has ended or stopped; what does not close is logged."""
    unbalanced = network.ask(lambda session: imbalance([session.ledger.closed, *session.ledger.accounts.values()]))
    if unbalanced:
        log.error("the ledger does not close: %s", unbalanced)
    return run.of_all_learners(network.ask(run.books))


def _checked_hooks(config: LearnerConfig, place: Membership | None) -> HookCalls | None:
    """Make the user's hooks. Raises UsageError where they, own networks or the device are not there."""
    check_device(config.run.device)
    if config.run.backend == NCCL and place is not None:
        check_nccl(place.local_rank + 1)
    hooks = hook_calls(config.run.hooks)
    for setting, name in config.network.own_code.items():
        find_function(setting, name)
    return hooks


def _found(config: LearnerConfig, place: Membership, stop: EndSignals) -> "Together":
    """Find the other learners."""
    with quick_imports():
        from dppo.learner.group.together import Together  # and torch with it, which one learner imports later

    return Together.found(config, place, stop.check)


def _train(
    run: Run,
    network: Network,
    stop: EndSignals,
    spaces_here: Future[SpacesHere] | None = None,
    together: "Together | None" = None,
) -> str | None:
    """Train from the first actor on; returns why the run is over, None where a signal came first."""
    try:
        with quick_imports():
            import dppo.learner.ppo.trainer  # noqa: F401 -- torch, while the actors start

        if spaces_here is not None and run.spec is None:
            settle_spaces(run, network, stop, spaces_here)
        spec = await_spaces(run, network, stop)
        if together is not None:
            together.same_spaces(spec)
        version, graph = _prepared(run, spec)
        await_first_actors(network, run.config.collect.first_actors, stop)
        collecting = _Collecting(run, network, stop, time.monotonic(), together)
        while (current := network.ask(lambda session: session.peer_table.spec)) not in (None, run.spec):
            assert current is not None
            version, graph = _prepared(run, current)
        if not run.over:
            network.publish_and_wait(version, graph)
        train(run, collecting, time.monotonic)
    except Abandoned:
        run.go_back()
        return None
    except Interrupted:
        if together is not None:
            together.end(run.progress.version)
        return None
    return run.over


def _prepared(run: Run, spec: Spec) -> tuple[int, bytes]:
    """Return the first version and its graph; the module of a user's network may have changed what a process shares."""
    with own_numerics():
        return run.prepare(spec)


class _Collecting:
    """Collecting by the network thread, for the training loop."""

    def __init__(
        self, run: Run, network: Network, stop: EndSignals, now: float, together: "Together | None" = None
    ) -> None:
        self.collecting_since = now
        self._together = together
        self._run = run
        self._network = network
        self._stop = stop

    def next_batch(self) -> list[Received]:
        """Return the next batch. Raises Interrupted after a signal."""
        while (batch := _next_batch(self._run, self._network, self._stop)) is None:
            # before anything was trained on, most actors turned out to have other spaces
            spec = self._network.ask(lambda session: session.peer_table.spec) or self._run.spec
            assert spec is not None, "a policy was published for some"
            self._network.publish_and_wait(*_prepared(self._run, spec))
        if self._together is not None:
            self._together.join(batch, self._run.progress.version)
        return batch

    def cutting(self) -> AbstractContextManager[None]:
        """Return the context of an update that signals may cut off, where a checkpoint is there to go back to."""
        return self._stop.cutting(self._together is None and self._run.can_go_back)

    def latencies(self) -> tuple[Latencies, int]:
        """Return latencies of the newest batch, and restarted environments."""
        return self._network.ask(lambda session: (session.cycle.latencies, session.ledger.env_restarts))

    def publish_next(self, version: int, graph: bytes) -> None:
        """Publish a policy; from then on the next batch is collected."""
        reach("before-publish")
        self._network.publish_and_wait(version, graph)
        reach("after-publish")
        self.collecting_since = time.monotonic()

    def mark_trained(self) -> None:
        """Book the last batch as trained."""
        self._network.ask(LearnerSession.mark_trained)

    def books(self) -> Books:
        """Return the books, made under the session's lock."""
        return self._run.of_all_learners(self._network.ask(self._run.books))


def _next_batch(run: Run, network: Network, stop: EndSignals) -> list[Received] | None:
    """The next batch; None where the run's spaces have changed."""
    batch = None
    while batch is None:
        stop.check()
        if not run.progress.updates and network.ask(lambda session: session.peer_table.spec) != run.spec:
            return None
        run.directory.check_lock(time.monotonic())
        batch = network.batch(WAIT_SECONDS)
        if run.progress.first_step_seconds is None and (
            batch or network.ask(lambda session: bool(session.cycle.batch.rollouts))
        ):
            run.note_first_step(time.monotonic())
    return batch
