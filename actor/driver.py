"""Carries out what the session decides: makes environments, loads policies, steps, cuts, seals.

Knows the session, the environments and the policy; knows no sockets. The service and the inline run feed it messages
and send what it leaves in `outgoing`.
"""

import time
from collections.abc import Callable, Sequence

from dppo.actor.console_lines import PolicyLines
from dppo.actor.envs.crash_reports import CrashReports
from dppo.actor.envs.env_numbers import Place
from dppo.actor.envs.interface import Crash
from dppo.actor.envs.make import Environments, make_environments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.actor.session.actions import Action, Connect, Cut, Exit, Finish, Load, MakeEnvironments, Note, Reconnect, Send
from dppo.actor.session.session import ActorSession
from dppo.actor.session.states import State
from dppo.actor.session.task import MAX_UNREADABLE
from dppo.actor.watchdog.activity import Activity
from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.messages import EnvFault, EnvSettings, FromLearner, TimeShares
from dppo.protocol.process.resources import lack, room
from dppo.protocol.rollout import Blob, most_rows
from dppo.protocol.texts import MAX_TEXT

Clock = Callable[[], float]


class ActorDriver:
    """One actor: a session and its environments."""

    def __init__(
        self,
        session: ActorSession,
        *,
        note: Callable[[str], None],
        note_reported: Callable[[str], None] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """note: for the actor's own log.

        note_reported: of it, lines that the learner gets in a message as well; None: as note.
        """
        self.session = session
        self.outgoing: list[Send] = []
        self.exit: Exit | None = None
        self.reconnect_wanted = False
        self.connect_wanted: Connect | None = None  # to another learner
        self.send_seconds = 0.0
        self.idle_seconds = 0.0
        self.activity = Activity()  # of this thread, for the one that watches it
        self._crashes = CrashReports()
        self._policy_lines = PolicyLines()
        self._note = note
        self._note_reported = note_reported or note
        self._clock = clock
        self._collector: Collector | None = None
        self._environments: Environments | None = None
        self._settings: EnvSettings | None = None
        self._have_sent_at: float | None = None  # until the first step under a new policy
        self._first_step_seconds = 0.0

    def connected(self) -> None:
        """Introduce the actor on a connection that the service opened."""
        self.reconnect_wanted, self.connect_wanted = False, None
        self._do(self.session.connected(self._clock()))

    def handle(self, message: FromLearner, blob: Blob | None) -> None:
        """Hand a message of the learner to the session, and carry out what follows."""
        self._do(self.session.receive(message, blob, self._clock()))
        collector = self._collector
        if collector is not None and collector.rows and self.session.may_seal and self._is_full(collector):
            self._seal()  # credit has come for what waited: it leaves before the next step

    def unreadable(self, error: ProtocolError) -> None:
        """A message of the learner cannot be read."""
        self._do(self.session.unusable(f"the learner sent something that cannot be read: {error}", self._clock()))

    def tick(self) -> None:
        """Time passed."""
        self.activity.limit_seconds = self.session.step_timeout_seconds
        collector = self._collector
        self.session.holds_full_segment = (
            not self.session.may_seal and collector is not None and self._is_full(collector)
        )
        self._do(self.session.tick(self._clock(), self._take_shares, self._open_steps))

    def drain(self) -> None:
        """SIGTERM: deliver what is there, then end."""
        if self.session.state in (State.DRAINING, State.OVER):
            return
        self._seal()
        self._do(self.session.drain(self._clock()))

    @property
    def has_joined(self) -> bool:
        """Whether a learner has said which environments to make."""
        return self._environments is not None

    @property
    def may_step(self) -> bool:
        """Whether there is a policy to act with and room for the step."""
        collector = self._collector
        if self.session.state is not State.RUNNING or collector is None or not self.session.task.rows_left:
            return False
        return self.session.may_open and not self._is_full(collector)

    def step(self) -> None:
        """One step of every environment. A segment that is full with it is sealed, if there is credit."""
        collector = self._collector
        assert collector is not None, "may_step is only true with a collector"
        collector.step()
        self.session.task.rows_left -= 1
        if self._have_sent_at is not None:
            self._first_step_seconds = self._clock() - self._have_sent_at
            self._have_sent_at = None
        if self._is_full(collector) and self.session.may_seal:
            self._seal()

    def _is_full(self, collector: Collector) -> bool:
        """Whether to cut: after T rows, or as many more as make up for resets among them."""
        task, rows = self.session.task, collector.rows
        if rows >= task.segment_steps:
            steps = task.segment_steps * collector.envs
            if collector.steps >= steps or rows >= most_rows(task.segment_steps):
                return True
        if not task.rows_left:
            return rows > 0
        return task.cut_at_episode_end and collector.ended_episode

    def waited(self, seconds: float) -> None:
        """Count time in which it stood still: time of sending as long as rollouts are not acknowledged."""
        if self.session.is_delivering:
            self.send_seconds += seconds
        else:
            self.idle_seconds += seconds

    def close(self) -> None:
        """End the environments."""
        if self._environments is not None:
            self._environments.close()

    def obey(self, actions: Sequence[Action]) -> None:
        """Carry out what the service's view of the connection asks for."""
        self._do(self.session.redirects.instead(actions))

    # What the session asks for

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    self.outgoing.append(action)
                case MakeEnvironments():
                    self._make(action)
                case Load():
                    self._load(action)
                case Cut():
                    self._cut()
                case Finish():
                    self._seal()
                    self._do(self.session.left(action.reason))
                case Reconnect():
                    self.reconnect_wanted = True
                case Connect():
                    self.connect_wanted = action
                case Exit():
                    self.exit = action
                case Note():
                    self._note(action.text)

    def _make(self, action: MakeEnvironments) -> None:
        activity = self.activity
        activity.limit_seconds = action.env.step_timeout_seconds
        self._note(f"joined the learner: making {action.envs} x {action.env.id}")
        place = Place(self.session.actor, action.first_slot, is_taken_over=action.life > 0)
        if action.env.vectorization == "async":
            lacking = lack(1, action.envs, room())
            if lacking:
                raise UsageError(f"{lacking}: choose fewer --collect.envs-per-actor")
        self._environments = make_environments(
            action.env, action.envs, activity.begin, place=place, note=self._note_about_environments
        )
        if (made := self._environments.envs) != action.envs:
            raise UsageError(
                f"{action.env.id}: its native vector environment is of {made} environments, where num_envs="
                f"{action.envs} were asked for: give --collect.envs-per-actor {made}, or --env.vectorization sync"
            )
        activity.environments = self._environments
        self._collector = Collector(
            self._environments,
            seed=action.seed,
            first_slot=action.first_slot,
            life=action.life,
            on_crash=self._crashed,
            activity=activity,
        )
        self._note(f"stepping {action.envs} x {action.env.id} ({self._environments.description})")
        self._do(self.session.environments_ready(self._environments.spec, self._clock()))

    def _note_about_environments(self, text: str) -> None:
        self._note_reported(text)
        self.outgoing.append(Send(EnvFault(self.session.incarnation, "noted", text[:MAX_TEXT])))

    def _crashed(self, crash: Crash) -> None:
        self.session.sealed.count_restart()
        line = self._crashes.line_for(crash)
        if line:
            self._note_reported(str(crash))
            if lines := self._crashes.traceback_of(crash):
                self._note(lines)
            self.outgoing.append(Send(EnvFault(self.session.incarnation, "crashed", line)))

    def _load(self, load: Load) -> None:
        assert self._collector is not None, "a learner sends no policy before it knows the spec"
        self._seal()
        start = self._clock()
        try:
            runner = PolicyRunner(load.graph)
        except ProtocolError as error:
            what = f"policy {load.version} cannot be used here: {error}"
            self._do(self.session.unusable(what, self._clock(), MAX_UNREADABLE))
            return
        self._collector.load(runner, rows=self.session.task.segment_steps)
        now = self._clock()
        self._first_step_seconds = 0.0
        self._have_sent_at = now
        self._do(self.session.loaded(load, now - start))
        line = self._policy_lines.loaded(
            term=load.term, version=load.version, steps=self.session.sealed.tally.sealed_steps, now=now
        )
        if line:
            self._note(line)

    def _cut(self) -> None:
        if self.session.on_stop == "drop" and self._collector is not None:
            self.session.sealed.drop(self._collector.discard())
        else:
            self._seal()
        self._do(self.session.stopped(self._first_step_seconds))

    def _seal(self) -> None:
        if self._collector is None:
            return
        start = self._clock()
        segment = self._collector.cut(keep_resets=not self.session.task.rows_left)
        if segment is not None:
            self._do(self.session.deliver(segment))
        self.send_seconds += self._clock() - start

    def _open_steps(self) -> int:
        return self._collector.steps if self._collector is not None else 0

    def _take_shares(self) -> TimeShares:
        collector = self._collector
        shares = TimeShares(send=self.send_seconds, idle=self.idle_seconds)
        if collector is not None:
            shares = TimeShares(collector.env_seconds, collector.policy_seconds, self.send_seconds, self.idle_seconds)
            collector.env_seconds = collector.policy_seconds = 0.0
        self.send_seconds = self.idle_seconds = 0.0
        return shares
