"""An actor's side of the protocol, without I/O: messages and clock readings in, things to do out.

Knows the connection's state, the outbox of rollouts that the learner has not acknowledged, and credit; knows no
sockets, no environments, no policy. The driver carries out what it returns, in order.
"""

from collections.abc import Callable, Sequence

from dppo.actor.bounds import unreasonable
from dppo.actor.session.actions import Action, Cut, Exit, Finish, Load, MakeEnvironments, Note, Reconnect, Send
from dppo.actor.session.keepalive import Due, Keepalive
from dppo.actor.session.outbox import Outbox, TooLargeError
from dppo.actor.session.policy_parts import Parts
from dppo.actor.session.redirects import Redirects
from dppo.actor.session.states import TABLE, Event, State
from dppo.actor.session.task import MAX_DAMAGED, Failures, Task
from dppo.actor.session.wait_report import WaitReporter, refused
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.messages import (
    Ack,
    Bye,
    Extend,
    FromLearner,
    Have,
    Hello,
    Nack,
    Part,
    Ping,
    Policy,
    Pong,
    Redirect,
    Reject,
    RelayWelcome,
    Stop,
    Stopped,
    TimeShares,
    Welcome,
    Who,
)
from dppo.protocol.rollout import Blob, Segment
from dppo.protocol.snapshot import graph_digest
from dppo.protocol.specs import Spec, spec_hash
from dppo.protocol.state_table import following

DRAIN_SECONDS = 5.0  # `docker stop` kills after 10


class ActorSession:
    """One incarnation's conversation with its learner, across any number of connections."""

    def __init__(self, *, actor: str, incarnation: bytes, envs: int, release: str, learner: str = "") -> None:
        """learner: its address, for notes."""
        self.actor = actor
        self.incarnation = incarnation
        self.state = State.JOINING
        self.allowed_envs: Sequence[str] = ()  # patterns of ids; none: any
        self.task = Task()
        self.sealed = Outbox()
        self._failures = Failures()
        self.on_stop = "keep"
        self.step_timeout_seconds = 0.0  # as the newest WELCOME says
        self.is_reached = True  # there is a connection; the service knows, and logs why there is none
        self.holds_full_segment = False  # that cannot be sealed without credit; the driver knows
        self.redirects = Redirects(learner)
        self._answer = 0  # to the learner's newest challenge
        self._waits = WaitReporter(learner)
        self._envs = envs
        self._release = release
        self._spec: Spec | None = None
        self._made: MakeEnvironments | None = None
        self._welcome: Welcome | None = None
        self._keepalive = Keepalive()
        self._term, self._version = 0, 0
        self._parts = Parts()
        self._stopping: Stop | None = None
        self._drain_deadline = 0.0

    def _move(self, event: Event) -> None:
        self.state = following(TABLE, self.state, event)

    # State that the driver reads

    @property
    def policy(self) -> tuple[int, int]:
        """(term, version) of the policy held."""
        return self._term, self._version

    @property
    def may_seal(self) -> bool:
        """Whether there is credit for one more rollout; without it the actor waits with a full segment."""
        return self.sealed.has_credit

    @property
    def may_open(self) -> bool:
        """Whether there is room for what a stop would cut: one segment beyond credit, so that no step is wasted."""
        return self.sealed.has_room

    @property
    def is_delivering(self) -> bool:
        """Whether rollouts are on their way to a learner that is reached."""
        return bool(self.sealed) and self.is_reached and not self._keepalive.unanswered

    # The connection

    def connected(self, now: float) -> list[Action]:
        """A fresh connection: introduce ourselves."""
        self._keepalive.connected(now)
        self._waits.asks(self.redirects.learner)
        self.sealed.send_again_after(0)
        return self._say_hello(now)

    def _say_hello(self, now: float) -> list[Action]:
        self._keepalive.said_hello(now)
        self._move(Event.HELLO_SENT)
        self._waits.asked(now)
        return [Send(Hello(
            PROTOCOL_VERSION, PROTOCOL_VERSION, self._release, self.actor, self.incarnation, self._envs,
            self.sealed.tally, run_id=self._welcome.run_id if self._welcome else "", term=self._term,
            version=self._version, spec_hash=spec_hash(self._spec) if self._spec else b"", spec=self._spec,
            answer=self._answer, stays=self.redirects.stays,
        ))]  # fmt: skip

    def tick(self, now: float, shares: Callable[[], TimeShares], open_steps: Callable[[], int] = int) -> list[Action]:
        """Time passed: unanswered HELLO, silence, heartbeat, the end of draining. PING alone asks for the counts."""
        if self.state is State.OVER:
            return []
        if self.state is State.DRAINING and (not self.sealed or now >= self._drain_deadline):
            return self._leave("the time to deliver ended" if self.sealed else "stopped, everything delivered")
        return self.redirects.tick(now) or [
            *self._waits.tick(self._lack, self.is_reached, now),
            *self._contact(now, shares, open_steps),
        ]

    @property
    def _lack(self) -> str:
        """Return what keeps the actor from stepping, "" where nothing does."""
        if self.state is State.WAITING:
            return "no policy"
        is_held = self.holds_full_segment or (self.task.rows_left and not self.may_open)
        return "no credit" if self.state is State.RUNNING and is_held else ""

    def _contact(self, now: float, shares: Callable[[], TimeShares], open_steps: Callable[[], int]) -> list[Action]:
        match self._keepalive.due(now):
            case Due.RECONNECT:
                return [Reconnect()]
            case Due.HELLO:
                return self._say_hello(now)
            case Due.PING:
                self._waits.asked(now)
                return [Send(Ping(now, self.sealed.tally, shares(), open_steps()))]
        return []

    def receive(self, message: FromLearner, blob: Blob | None, now: float) -> list[Action]:
        """One message from the learner."""
        if self.state is State.OVER:
            return []
        self._keepalive.heard(now)
        self._waits.heard(now)
        self.redirects.heard(message)
        match message:
            case Redirect():
                return self._ended_by(self.redirects.take(message, now))
            case Welcome():
                return [*self._waits.welcomed(), *self._welcomed(message)]
            case Reject():
                return self._rejected(message, now)
            case Policy():
                assert blob is not None, "the codec lets no POLICY through without its blob"
                self._waits.got_work(now)
                return self._policy(message, self._parts.end((message.term, message.version), blob), now)
            case Extend():
                if (message.term, message.version) == self.policy and self.state is not State.DRAINING:
                    self.task.extend(message)
                    self._move(Event.EXTENDED)
                return []
            case Part():
                assert blob is not None, "the codec lets no PART through without its blob"
                self._parts.add(message, blob)
                return []
            case Ack():
                return self._acknowledged(message.upto, message.credit)
            case Nack():
                return refused(message)
            case Stop():
                self._stopping = message
                return [Cut()]
            case Who():
                if self._keepalive.unanswered:
                    return []  # the answer to several messages in a row; HELLO is on its way
                self.sealed.send_again_after(0)
                return self._say_hello(now)
            case Bye():
                return self._leave(message.reason)
            case Pong() | RelayWelcome():
                return []

    def _welcomed(self, welcome: Welcome) -> list[Action]:
        wrong = unreasonable(welcome, self.allowed_envs) or (self._made.refusal(welcome) if self._made else "")
        if wrong:
            return self._ended_by([Exit(3, wrong)])
        self.step_timeout_seconds = welcome.env.step_timeout_seconds  # the one thing that may change on the way
        self._keepalive.welcomed(welcome)
        self._welcome = welcome
        self.on_stop, self.sealed.most_bytes = welcome.on_stop, welcome.max_rollout_bytes
        if self._made is None:
            self._made = MakeEnvironments(welcome.env, welcome.envs, welcome.seed, welcome.first_slot, welcome.life)
            self._envs = welcome.envs
            return [self._made]
        self._move(Event.WELCOMED if welcome.term == self._term else Event.TERM_CHANGED)
        # on a new connection everything unacknowledged goes out again
        self.sealed.send_again_after(welcome.watermark)
        return self._acknowledged(welcome.watermark, welcome.credit)

    def environments_ready(self, spec: Spec, now: float) -> list[Action]:
        """The environments exist and these are their spaces: introduce ourselves again."""
        self._spec = spec
        return self._say_hello(now)

    def _rejected(self, reject: Reject, now: float) -> list[Action]:
        if reject.fatal:
            return self._ended_by([Exit(3, f"refused by the learner: {reject.text}", is_of_run=reject.code == "run")])
        self._keepalive.refused_for_now(reject.retry_after_seconds, now)
        self._answer = reject.challenge
        return [] if reject.challenge else [*self._waits.put_off(reject.text)]

    def _leave(self, reason: str) -> list[Action]:
        self._move(Event.DRAIN)
        return [Finish(reason)]

    def left(self, reason: str) -> list[Action]:
        """Send the last message, once all is sealed."""
        ending = Exit(0, reason + self.sealed.undelivered, is_of_run=True)
        return self._ended_by([Send(Bye(reason, self.sealed.tally)), ending])

    # Policy and stop

    def _policy(self, policy: Policy, graph: bytes, now: float) -> list[Action]:
        if graph_digest(graph) != policy.digest:
            return self.unusable(f"policy {policy.version} arrived damaged", now)
        if self.state is State.DRAINING:
            return []
        self.task.begin(policy)
        return [Load(graph, policy.term, policy.version)]

    def unusable(self, what: str, now: float, most: int = MAX_DAMAGED) -> list[Action]:
        """Ask again in a while for what cannot be used of the learner's; end after so many times in a row."""
        seconds = self._failures.next_seconds(most)
        if seconds is None:
            return self._fail(what)
        self._move(Event.POLICY_UNUSABLE)
        self._keepalive.reconnect_after(seconds, now)
        return [Note(f"{what}; connecting again in {seconds:g} s")]

    def _fail(self, why: str) -> list[Action]:
        return self._ended_by([Send(Bye(why[:512], self.sealed.tally)), Exit(1, why)])

    def _ended_by(self, actions: list[Action]) -> list[Action]:
        if any(isinstance(action, Exit) for action in actions):
            self._move(Event.END)
        return actions

    def loaded(self, load: Load, load_seconds: float) -> list[Action]:
        """The policy is in place: go on under it."""
        self._failures = Failures()
        self._term, self._version = load.term, load.version
        self._move(Event.POLICY_LOADED)
        return [Send(Have(load.term, load.version, load_seconds))]

    def stopped(self, first_step_seconds: float) -> list[Action]:
        """The open segment is cut: answer STOP and wait for the next policy."""
        stop, self._stopping = self._stopping, None
        assert stop is not None, "stopped without a STOP"
        self._move(Event.STOPPED)
        return [Send(Stopped(stop.term, stop.version, self.sealed.tally, first_step_seconds))]

    # Rollouts

    def deliver(self, segment: Segment) -> list[Action]:
        """Seal the segment, send it, keep it until it is acknowledged. Ask `may_seal` for credit before."""
        assert self._spec is not None, "a segment before the environments"
        try:
            self.sealed.seal(segment, spec=self._spec, term=self._term, version=self._version)
        except TooLargeError as error:
            return self._fail(str(error))
        return self._flush()

    def drain(self, now: float) -> list[Action]:
        """End as soon as everything is delivered, at the latest when the grace is over."""
        if self.state not in (State.DRAINING, State.OVER):
            self._move(Event.DRAIN)
            self._drain_deadline = now + DRAIN_SECONDS
        return []

    def _flush(self) -> list[Action]:
        is_due = self._welcome is not None and not self._keepalive.unanswered
        return [Send(rollout.header, rollout.blob) for rollout in self.sealed.take_unsent()] if is_due else []

    def _acknowledged(self, upto: int, credit: int) -> list[Action]:
        self.sealed.acknowledged(upto, credit)
        return self._flush()
