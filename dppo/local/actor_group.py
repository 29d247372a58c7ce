"""`dppo actor --count`: the actors of one host as processes, named, started again and ended together.

Knows no learner: each actor finds its own way. What they print is shown with their names before it.
"""

import contextlib
import dataclasses
import logging
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dppo.actor.config import ActorConfig
from dppo.actor.console_lines import RUNNING
from dppo.actor.leave_reasons import MUST_CHANGE
from dppo.local.actor_processes import ActorProcesses, actors_text
from dppo.local.exit_diagnosis import how_an_actor_ended, was_stopped
from dppo.local.followed_log import FollowedLog
from dppo.local.log_files import NO_TRACE
from dppo.local.processes import Child
from dppo.protocol.actor_names import numbered_name
from dppo.protocol.errors import DppoError, RefusedError, UsageError
from dppo.protocol.process.descendants import become_subreaper, children, reap
from dppo.protocol.process.heartbeat_file import HealthFile
from dppo.protocol.process.heartbeat_pipe import with_heartbeat
from dppo.protocol.process.lifeline import Lifeline, watch_parent
from dppo.protocol.process.resources import lack, most_actors, room, usable_cores

if TYPE_CHECKING:
    from dppo.actor.join_options import JoinOptions

log = logging.getLogger("dppo.actors")

POLL_SECONDS = 0.1
GRACE_SECONDS = 7.0  # an actor delivers and ends within 5 s; what it has left takes a second more to end
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(way: "JoinOptions", settings: ActorConfig) -> None:
    """Run the actors until each has ended for good, or a signal ends them.

    Raises RefusedError when the learner has refused one, UsageError when one cannot work as it is told to, DppoError
    when one has died again and again; where others can go on, not before they have ended too.
    """
    watch_parent()
    count, remark = _count(settings.count)
    host = settings.name or os.uname().nodename
    names = [numbered_name(host, i) for i in range(count)]
    dataclasses.replace(settings, name=names[-1])  # raises where it is no name
    log.info("starting %s%s", names[0], f" to {names[-1]}" if count > 1 else "")
    if remark:
        log.info("%s", remark)
    with contextlib.ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dppo-")))  # 0700
        lifeline = stack.enter_context(Lifeline())
        variables = {
            "OMP_NUM_THREADS": "1",
            **NO_TRACE,
            "DPPO_JOIN": way.join,
            "DPPO_JOIN_FILE": way.join_file,
            "DPPO_HEALTH_FILE": "",  # it is the group's
        }
        actors = [
            Child(name, _arguments(settings, name), logs / f"{name}.log", lifeline, *with_heartbeat(variables))
            for name in names
        ]
        _Group(actors).run()


def _arguments(settings: ActorConfig, name: str) -> tuple[str, ...]:
    """Return the command of one actor, without its secret."""
    rest = [*(("--learner", settings.learner) if settings.learner else ()), "--envs", str(settings.envs)]
    if settings.stay_seconds:
        rest += ["--stay-seconds", str(settings.stay_seconds)]
    allowed = [word for pattern in settings.allow_env for word in ("--allow-env", pattern)]
    insecure = "--insecure" if settings.insecure else "--no-insecure"
    return ("-m", "dppo.actor", "--count", "1", "--name", name, insecure, *rest, *allowed)


def _count(wanted: int | str) -> tuple[int, str]:
    """Return how many actors to start, and a remark on it. Raises UsageError where they do not fit."""
    cores, left = usable_cores(), room()
    if isinstance(wanted, int):
        lacking = lack(wanted, 0, left)
        if lacking:
            raise UsageError(f"{lacking}; choose a smaller --count, or auto")
        return wanted, actors_text(wanted, cores) if wanted > cores else ""
    lacking = lack(cores, 0, left)
    if not lacking:
        return cores, ""
    fit = most_actors(left)
    if not fit:
        raise UsageError(lacking)
    return fit, lacking


class _Group:
    """Watches the actors until none is left, or a signal comes."""

    def __init__(self, actors: list[Child]) -> None:
        self._actors = ActorProcesses(actors, note=log.info, ended=self._ended)
        self._logs = {actor.name: FollowedLog(actor.log) for actor in actors}
        self._signals: list[int] = []
        self._failures: list[DppoError] = []
        self._health = HealthFile()
        self._before = children(os.getpid())

    def run(self) -> None:
        """Until each has ended. Raises DppoError as `run` does."""
        with self._noting_signals():
            become_subreaper()
            try:
                while not self._signals and not self._actors.none_left:
                    self._actors.start_more()
                    time.sleep(POLL_SECONDS)
                    reap(self._actors.pids | self._before)
                    self._show()
                    self._actors.revive()
                    if self._actors.pids:
                        self._health.touch(time.monotonic())
            finally:
                running = len(self._actors.pids)
                if running:
                    log.info("ending %d actor%s", running, "s" if running != 1 else "")
                self._actors.end(GRACE_SECONDS)
                self._show()
        if self._failures and not self._signals:
            raise max(self._failures, key=lambda error: error.exit_code)

    @contextlib.contextmanager
    def _noting_signals(self) -> Iterator[None]:
        previous = {number: signal.signal(number, lambda got, _: self._signals.append(got)) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _show(self) -> None:
        """Log what the actors have printed, and note from it which have joined."""
        for actor in self._actors.started:
            followed = self._logs[actor.name]
            is_over = actor.process is None or actor.process.is_over()
            for line in followed.last_words() if is_over else followed.new_lines():
                log.info("%s", line if line.startswith(f"{actor.name} ") else f"{actor.name} | {line}")
                if line.startswith(RUNNING):
                    actor.worked = True
                    self._actors.joined.add(actor.name)
            if not is_over and followed.empty_if_long():
                actor.log_was_emptied()

    def _ended(self, actor: Child, code: int) -> None:
        """Log how, and decide whether it is started again. Raises DppoError where no actor of this host can work."""
        self._show()
        error = actor.last_error()
        if code == 0:
            if actor.ended_in_order:
                if not was_stopped(actor.words):
                    self._actors.give_up(actor)  # the learner has sent BYE: the run is over
                return
            actor.count_death()  # an environment ended the process, and called it success
        if code == UsageError.exit_code and error:
            raise UsageError(error)
        if error.startswith(MUST_CHANGE):
            raise DppoError(f"{actor.name}: {error}")
        if code == RefusedError.exit_code and error:
            self._give_up(actor, RefusedError(f"{actor.name} was {error}"))
            return
        how = how_an_actor_ended(code, error, actor.words)
        if actor.hopeless:
            self._give_up(actor, DppoError(f"{actor.name} keeps dying: it {how}"))
        else:
            log.info("%s %s; starting it again", actor.name, how)

    def _give_up(self, actor: Child, failure: DppoError) -> None:
        self._actors.give_up(actor)
        self._failures.append(failure)
        if not self._actors.none_left:
            log.info("%s; it is not started again, the others go on", failure)
