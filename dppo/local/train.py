"""The local run: one learner and its actors as processes on this machine, from start to evaluation."""

import contextlib
import os
import select
import signal
import socket
import tempfile
from pathlib import Path

from dppo.actor.leave_reasons import MUST_CHANGE
from dppo.learner.telemetry.joint_status import joint_status
from dppo.learner.telemetry.status import SUMMARY, Status
from dppo.local.actor_processes import ActorProcesses
from dppo.local.drawing_thread import Screen
from dppo.local.exit_diagnosis import LEARNER_ENDED_AMID, how_an_actor_ended
from dppo.local.failed_starts import removed_where_it_fails
from dppo.local.launch_texts import FirstLine, LaunchTexts
from dppo.local.launching import check_hooks_of_finished, checked, show_finished
from dppo.local.learner_group import LearnerGroup, rank_variables
from dppo.local.log_files import NO_TRACE, made_logs, trace_of
from dppo.local.metrics_server import serving_metrics
from dppo.local.preflight import check_before_start
from dppo.local.processes import Child, end
from dppo.local.run_end import Ending, close, leave, version_of
from dppo.local.status_channel import MAX_REPORT_BYTES, STATUS_VARIABLE, NoteRecord, Report, decode
from dppo.protocol.errors import DppoError, RefusedError, UsageError
from dppo.protocol.process.descendants import become_subreaper, children, reap
from dppo.protocol.process.heartbeat_pipe import with_heartbeat
from dppo.protocol.process.launch_time import LAUNCHED_VARIABLE, launched_at
from dppo.protocol.process.lifeline import Lifeline
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import dump_yaml
from dppo.watch.side_processes import SideProcesses

POLL_SECONDS = 0.1
LEARNER_GRACE_SECONDS = 15.0  # for the actors' last messages and a checkpoint
ACTOR_GRACE_SECONDS = 5.0
GOODBYE_SECONDS = 1.0  # for actors that got BYE; one that had not joined yet got none
AT_ONCE_SECONDS = 1.0
ENDING = ("DRAINING", "STOPPED")  # phases in which the run is over


def run(
    config: TrainConfig,
    *,
    hooks: object | None = None,
    is_traced: bool = False,
    texts: LaunchTexts = LaunchTexts(),
) -> int:
    """Train, evaluate, draw the curve; returns the exit code. Raises DppoError where the run fails.

    hooks: an object in place of run.hooks, where the run is in this process (no actors). texts: of the command.
    """
    started = launched_at()
    standing = checked(config)
    if standing.over:
        check_hooks_of_finished(config.learner.run.hooks, hooks)
        show_finished(standing)
        return 0
    with serving_metrics(config.learner.run.metrics_address) as publish:
        return _run(config, started, Screen(publish=publish), hooks=hooks, is_traced=is_traced, texts=texts)


def _run(
    config: TrainConfig,
    started: float,
    progress: Screen,
    *,
    hooks: object | None,
    is_traced: bool,
    texts: LaunchTexts,
) -> int:
    first_line = FirstLine(texts.first_line)
    check_before_start(config, first_line.note)
    first_line.show()
    directory = config.learner.run_directory.absolute()
    with (
        removed_where_it_fails(directory) as undo,
        SideProcesses(config, directory, progress.note) as sides,
    ):
        try:
            if config.actors == 0:
                from dppo.local.inline import run_inline

                interrupted = run_inline(config, progress, sides, hooks=hooks, is_traced=is_traced)
                ending = Ending.INTERRUPTED if interrupted else Ending.OVER
            else:
                ending = _run_processes(config, directory, started, progress, sides, is_traced=is_traced)
        except KeyboardInterrupt:
            if not is_traced:
                undo()
            raise
        if ending is Ending.OVER:
            return close(config, directory, sides, shows_commands=texts.shows_commands)
        return leave(ending, directory, sides, texts.again, None if is_traced else undo)


def _run_processes(
    config: TrainConfig, directory: Path, started: float, progress: Screen, sides: SideProcesses, *, is_traced: bool
) -> Ending:
    logs = made_logs(directory)
    names = (*_learner_names(config.learners), *(f"actor-{i}" for i in range(config.actors)))
    traces = {name: ("--trace", str(trace_of(logs, name))) if is_traced else () for name in names}
    with contextlib.ExitStack() as stack:
        private = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dppo-")))  # 0700
        ranks = config.learners
        endpoints = [f"ipc://{private}/learner{f'-{rank}' if rank else ''}" for rank in range(ranks)]
        settings = private / "config.yaml"
        settings.write_text(dump_yaml(config))
        lifeline = stack.enter_context(Lifeline())
        learners, reports = [], []
        for rank, name in enumerate(_learner_names(ranks)):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            stack.callback(ours.close)
            stack.callback(theirs.close)
            reports.append(ours)
            before = sum(number % ranks < rank for number in range(config.actors))
            environment = {
                "DPPO_CONFIG": str(settings),
                LAUNCHED_VARIABLE: str(started),
                STATUS_VARIABLE: str(theirs.fileno()),
                **rank_variables(rank, ranks, before * config.learner.collect.envs_per_actor),
            }
            arguments = ("-m", "dppo.learner", "--bind", endpoints[0], *traces[name])
            learners.append(Child(name, arguments, logs / f"{name}.log", lifeline, environment, (theirs.fileno(),)))
        actors = [
            Child(
                f"actor-{i}",
                ("-m", "dppo.actor", "--learner", endpoints[i % ranks], "--name", f"actor-{i}", *traces[f"actor-{i}"]),
                logs / f"actor-{i}.log",
                lifeline,
                *with_heartbeat({"OMP_NUM_THREADS": "1", **NO_TRACE}),
            )
            for i in range(config.actors)
        ]
        screen = stack.enter_context(progress)
        return _Supervisor(LearnerGroup(learners), actors, reports, screen, sides, directory / SUMMARY).run()


def _learner_names(ranks: int) -> list[str]:
    return ["learner", *(f"learner-{rank}" for rank in range(1, ranks))]


class _Supervisor:
    """Watches the children until the learner has ended."""

    def __init__(
        self,
        learner: LearnerGroup,
        actors: list[Child],
        reports: list[socket.socket],
        progress: Screen,
        sides: SideProcesses,
        summary: Path,
    ) -> None:
        """reports: of each learner. summary: the file that the learner writes at the end."""
        self._summary, self._summary_before = summary, version_of(summary)
        self._learner = learner
        self._actors = ActorProcesses(actors, note=progress.note, ended=self._actor_ended)
        self._reports = reports
        for channel in reports:
            channel.setblocking(False)
        self._progress = progress
        self._sides = sides
        self._before = children(os.getpid())
        self._interrupts: list[int] = []
        self._newest: dict[int, Status] = {}  # of each learner
        self._is_ending = False
        self._delivered: dict[str, int] = {}  # steps of every actor, in the newest status

    def run(self) -> Ending:
        """Until the learner has ended for good. Raises DppoError where the run failed."""
        previous = {
            n: signal.signal(n, lambda got, _: self._interrupts.append(got)) for n in (signal.SIGINT, signal.SIGTERM)
        }
        become_subreaper()
        try:
            self._learner.start()  # first: it takes longest
            self._actors.let_first(len(self._learner.children))
            ended_well = self._watch()
        finally:
            last = self._learner.processes
            # the learner first: it sends BYE to the actors
            end(self._learner.children, AT_ONCE_SECONDS if len(self._interrupts) > 1 else LEARNER_GRACE_SECONDS)
            self._actors.end(ACTOR_GRACE_SECONDS)
            self._show_reports()
            for number, handler in previous.items():
                signal.signal(number, handler)
        if not (ended_well or (last and all(process.exit_code == 0 for process in last))):
            return Ending.BROKEN_OFF
        return Ending.INTERRUPTED if self._interrupts else Ending.OVER

    def _watch(self) -> bool:
        """Returns whether the learner ended in order; if not, the user was in a hurry."""
        asked = 0
        while True:
            if not asked:
                self._actors.start_more()
            select.select(self._reports, [], [], POLL_SECONDS)
            reap(self._known())
            self._show_reports()
            if len(self._interrupts) > asked:
                asked = len(self._interrupts)
                if asked > 1:
                    self._progress.note("ending at once")
                    return False
                self._progress.note("ending: the learner writes a checkpoint (again to end at once)")
                self._learner.send_signal(signal.SIGTERM)
            code = self._learner.died()
            if code is not None:
                if code == 0:
                    self._show_reports()
                    if not asked:
                        self._refuse_end_amid()
                    self._actors.wait(GOODBYE_SECONDS)
                    return True
                if code > 0 or not asked:
                    self._learner_failed(code)
            if asked and not self._learner.processes:  # killed: by our signal, before it was ready for that
                return False
            if not asked:
                self._revive()

    def _known(self) -> set[int]:
        """Return the children that are waited for."""
        learners = {process.pid for process in self._learner.processes}
        return learners | self._actors.pids | self._sides.pids | self._before

    def _refuse_end_amid(self) -> None:
        """Raise DppoError where the learner's process has ended, and its run has not."""
        if not self._is_ending and version_of(self._summary) == self._summary_before:
            raise DppoError(f"{LEARNER_ENDED_AMID} (log: {self._learner.log})")

    def _learner_failed(self, code: int) -> None:
        learner = self._learner
        if code > 0 or learner.hopeless:
            kind: type[DppoError] = {2: UsageError, 3: RefusedError}.get(code, DppoError)
            raise kind(f"{learner.last_error() or learner.how} (log: {learner.log})")
        them = "it" if len(learner.children) == 1 else "all learners"
        self._progress.note(f"{learner.how}; starting {them} again from the newest checkpoint")

    def _revive(self) -> None:
        if self._learner.restart_if_due():
            self._progress.note("the learner is back" if len(self._reports) == 1 else "the learners are back")
        if self._is_ending:  # actors have been told to end, and several learners take a while to do so
            self._actors.look()
        else:
            self._actors.revive()

    def _actor_ended(self, child: Child, code: int) -> None:
        """Say how; raise DppoError where there is no point in another one."""
        error = child.last_error()
        if code == 0:
            if child.ended_in_order:
                return
            child.count_death()  # an environment ended the process, and called it success
        if code == UsageError.exit_code and error:
            raise UsageError(f"{error} (log: {child.log})")
        if error.startswith(MUST_CHANGE):
            raise DppoError(f"{child.name}: {error} (log: {child.log})")
        if code == RefusedError.exit_code and error:  # our own learner does not want what it sends
            raise DppoError(f"{child.name} was {error} (log: {child.log})")
        how = how_an_actor_ended(code, error, child.words)
        if child.hopeless:
            raise DppoError(f"{child.name} keeps dying: it {how} (log: {child.log})")
        self._progress.note(f"{child.name} {how}; starting it again")

    def _note_work(self, status: Status) -> None:
        """Note which actors have delivered steps in this life of their processes."""
        delivered = {row.name: row.steps for row in status.actors}
        self._actors.joined.update(delivered)
        for child in self._actors.started:
            steps = delivered.get(child.name, 0)
            # rows of an actor that was replaced may be those of its predecessor for a while
            if steps > self._delivered.get(child.name, 0) and child.process is not None:
                child.worked = True
            self._delivered[child.name] = steps

    def _show_reports(self) -> None:
        for rank, channel in enumerate(self._reports):
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._show(rank, decode(channel.recv(MAX_REPORT_BYTES * 4)))

    def _show(self, rank: int, report: Report) -> None:
        self._actors.let_first(0)  # that it listens is the first that a learner says
        if isinstance(report, NoteRecord):
            self._progress.note(f"learner {rank}: {report.text}" if rank else report.text)
            return
        self._newest[rank] = report.status
        if 0 in self._newest:
            status = joint_status([self._newest[known] for known in sorted(self._newest)])
            self._is_ending = status.phase in ENDING
            self._note_work(status)
            self._progress.show(status)
            self._sides.look(status)
