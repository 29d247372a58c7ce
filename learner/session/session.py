"""The learner's side of the protocol, without I/O: messages and clock readings in, messages to send out.

Knows peers, credit and the ledger (phases and batch are in collection.py); knows no sockets, no threads, no torch.
The service hands in what arrived, what could not be sent and what time it is, and sends what is returned.
"""

from collections.abc import Callable

from dppo.learner.session.admission import welcome
from dppo.learner.session.asynchronous import AsynchronousCycle
from dppo.learner.session.byte_budget import Budget
from dppo.learner.session.collection import CollectionCycle
from dppo.learner.session.credit import begin, is_due
from dppo.learner.session.env_faults import EnvFaults
from dppo.learner.session.peer_table import PeerTable
from dppo.learner.session.phases import Phase
from dppo.learner.session.rate_limit import HELLO_MESSAGES
from dppo.learner.session.records import Action, Note, Peer, PeerKey, Send, Settings
from dppo.learner.session.rollout_intake import Rollouts
from dppo.learner.session.run_histories import Histories
from dppo.learner.session.slots import SlotTable
from dppo.learner.session.together import Together
from dppo.learner.session.wait_report import WaitReporter
from dppo.learner.storage.journal_records import Entry
from dppo.protocol.account import DropReason
from dppo.protocol.errors import HostileError, ProtocolError
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import (
    Bye,
    EnvFault,
    FromActor,
    Have,
    Hello,
    Ping,
    Pong,
    RelayHello,
    Rollout,
    Stopped,
    Tally,
    Welcome,
    Who,
)
from dppo.protocol.rollout import Blob
from dppo.protocol.specs import Spec

HEARTBEAT_SECONDS = 1.0
CHANGEABLE = (Phase.WAITING, Phase.COLLECTING, Phase.STOPPING)  # in which spaces may be found to be wrong
LEASE_HEARTBEATS = 4  # of a lease at least
OVER = "the run is over"


class LearnerSession:
    """All peers of one run. Every method returns actions for the service, in order."""

    def __init__(self, settings: Settings, ledger: Ledger, slots: SlotTable, spec: Spec | None = None) -> None:
        self.settings = settings
        self.ledger = ledger
        self.slots = slots
        self.peer_table = PeerTable(settings, ledger, slots, spec)
        self.budget = Budget(settings, self.peer_table)
        cycle = AsynchronousCycle if settings.max_staleness else CollectionCycle
        self.cycle: CollectionCycle = cycle(settings, self.peer_table, self.budget.total_bytes)
        self.env_faults = EnvFaults(self.peer_table)
        self.histories = Histories(settings.term, settings.former_terms)
        self.rollouts = Rollouts(settings, self.peer_table, self.cycle, self.env_faults, self.histories)
        self.refused_messages = 0
        self._left = False
        self._farewells: tuple[str, ...] = ()  # reasons that were sent with BYE, and come back with the actors' own
        self._waits = WaitReporter(self.peer_table, self.cycle)

    def receive(self, key: PeerKey, message: FromActor, blob: Blob | None, now: float, token: str = "") -> list[Action]:
        """One message from one peer. `token` is what a HELLO came by, "" where none is needed."""
        if self._left and self.cycle.phase is Phase.STOPPED:
            return []  # the next learner answers
        try:
            of_relay = self.peer_table.relays.answer(key, message, self._heartbeat_seconds, now)
        except HostileError as error:
            return self.violation(key, error, now)
        if of_relay is not None:
            is_late = self.cycle.phase is Phase.STOPPED and isinstance(message, RelayHello)
            return [*of_relay, Send(key, Bye(OVER))] if is_late else of_relay
        if isinstance(message, Hello):
            return self._hello(key, message, now, token)
        if isinstance(message, EnvFault):
            return self.env_faults.reported(message)
        peer = self.peer_table.heard_of(key)
        if peer is None:
            return self._ask(key, now)
        peer.heard, peer.doing = now, ""
        try:
            return self._from(peer, message, blob, now)
        except HostileError as error:
            return self.violation(key, error, now)

    def _from(self, peer: Peer, message: FromActor, blob: Blob | None, now: float) -> list[Action]:
        match message:
            case Rollout():
                assert blob is not None, "the codec lets no ROLLOUT through without its blob"
                return self._rollout(peer, message, blob, now)
            case Have():
                return [*self.cycle.have(peer, message, now), *self._credit_withheld(peer)]
            case Stopped():
                self._observe(peer, message.tally)
                return self.cycle.stopped(peer, message, now)
            case Ping():
                self._observe(peer, message.tally)
                peer.shares, peer.open_steps = message.shares, message.open_steps
                return [Send(peer.key, Pong(message.time))]
            case Bye():
                return self._bye(peer, message, now)
        raise AssertionError(f"{type(message).__name__} is answered before")

    def _observe(self, peer: Peer, tally: Tally) -> None:
        peer.account.observe(self.peer_table.plausibility.told(peer.account, tally, peer.slots.envs))

    def violation(self, key: PeerKey, error: ProtocolError, now: float) -> list[Action]:
        """Count something unreadable of that peer; after three times it is disconnected."""
        self.refused_messages += 1
        return [*self.peer_table.strike(key, error, now), *self.cycle.advance(now)]

    def expel(self, may_stay: Callable[[str], bool], now: float) -> list[Action]:
        """Disconnect all peers whose token has ended."""
        actions = self.peer_table.expel(may_stay)
        return [*actions, *self.cycle.advance(now)] if actions else []

    def unreachable(self, connection: bytes, now: float) -> list[Action]:
        """The transport says that this connection is gone, with all that it carries."""
        self.peer_table.peer_limits.forget(connection)
        return [*self.peer_table.relays.forget(connection), *self._without(self.peer_table.lose(connection), now)]

    def detached(self, key: PeerKey, now: float) -> list[Action]:
        """Forget an actor that its relay has lost: nothing of it follows."""
        gone = self.peer_table.forget(key)
        return self._without([gone] if gone is not None else [], now)

    def _without(self, gone: list[Peer], now: float) -> list[Action]:
        # the reason is logged already where the actor sent one
        notes = [Note(f"{peer.actor} is gone (connection lost)") for peer in gone if not peer.has_left]
        return [*notes, *self.cycle.advance(now)] if gone else []

    def tick(self, now: float) -> list[Action]:
        """Time passed: leases, the grace after STOP, the end of draining."""
        actions = self.peer_table.expire(now) + self._waits.tick(now)
        for peer in self.peer_table.fetches.take_waiting():
            actions += self.cycle.offer_policy(peer, now)
        actions += self.peer_table.fetches.take_notes()
        return actions + self.cycle.give_up_late(now) + self.cycle.advance(now)

    def publish(self, version: int, graph: bytes, now: float) -> list[Action]:
        """Publish a policy: the batch is done with, and all go on under this one."""
        if version <= self.cycle.snapshot.version:
            raise ValueError(f"version {version} after {self.cycle.snapshot.version}: versions only rise")
        self.peer_table.spaces.is_settled |= bool(self.cycle.taken.rollouts)
        trained = self.cycle.taken.number
        actions = self.cycle.begin_collecting(version, graph, now)
        self.ledger.train(trained)
        credit = [ack for peer in self.peer_table.peers.values() for ack in self._credit_withheld(peer)]
        if self.settings.max_staleness:  # not before the policy under which it is to be used
            return [Entry("published", version), *actions, *credit, *self.cycle.advance(now)]
        return [Entry("published", version), *credit, *actions]

    def end_collecting(self, version: int, now: float) -> list[Action]:
        """Stop collecting under that version: several learners have their batch together."""
        cycle = self.cycle
        if cycle.phase is not Phase.COLLECTING or cycle.snapshot.version != version:
            return []
        assert isinstance(cycle.rule, Together), "nothing else is called from outside"
        cycle.rule.call()
        return cycle.advance(now)

    def drop_batch(self) -> None:
        """Drop the batch in hand as unfinished: the other learners train without it."""
        self.ledger.drop_pending("unfinished")

    def settle_spaces(self, spec: Spec) -> list[Action]:
        """Fix the spaces to those that the environment has here. Call it before anything is published."""
        is_other = self.peer_table.spec not in (None, spec)
        dropped = self._drop_spaces(spec, "as the environment here says") if is_other else []
        self.peer_table.spaces.settle(spec)
        return dropped

    def finish(self, reason: str, drop: DropReason, now: float) -> list[Action]:
        """The run is over: say BYE to all, wait for their last words. Untrained steps are dropped for that reason."""
        if self.cycle.phase in (Phase.DRAINING, Phase.STOPPED):
            return []
        self.ledger.drop_pending(drop)
        self._farewells = (reason, OVER)
        self.peer_table.forget_lost()  # those lost from now on may have sent BYE first
        return [*self.cycle.finish(reason, now), *self.peer_table.relays.farewell(reason)]

    def leave(self, now: float) -> list[Action]:
        """The learner ends and its run does not: STOP to all, which then wait for the next learner; so there is no BYE.

        What is on its way is taken in; untrained steps are dropped as "shutdown".
        """
        self._left = True
        self.ledger.drop_pending("shutdown")
        return self.cycle.leave(now)

    def mark_trained(self) -> None:
        """The update on the current batch is done, though no policy follows (the run ends here)."""
        self.ledger.train(self.cycle.taken.number)
        self.cycle.release()

    def close_accounts(self) -> None:
        """After STOPPED: whatever is still in flight is lost, unless its actor can deliver it to the next learner."""
        self.peer_table.close_accounts(of_connected=not self._left)

    def _ask(self, key: PeerKey, now: float) -> list[Action]:
        return [Send(key, Who())] if self.peer_table.peer_limits.may_be_asked(self.peer_table.paying(key), now) else []

    # HELLO

    def _hello(self, key: PeerKey, hello: Hello, now: float, token: str) -> list[Action]:
        try:
            self.peer_table.peer_limits.spend(self.peer_table.paying(key), now, HELLO_MESSAGES)
            self.peer_table.check_identity(key, hello)
        except HostileError as error:
            return self.violation(key, error, now)
        if self.cycle.phase in (Phase.STOPPED, Phase.LEAVING):  # while it leaves, the next learner answers
            return [Send(key, Bye(OVER))] if self.cycle.phase is Phase.STOPPED else []
        elsewhere = self.peer_table.placement.answer(key, hello, self.peer_table.peers, now)
        if elsewhere is not None and self.cycle.phase is not Phase.DRAINING:
            return elsewhere
        spec = self.peer_table.spec
        changed = self._change_spaces(hello, now, token) if spec and hello.spec not in (None, spec) else []
        peer, actions = self.peer_table.admit(key, hello, now, token)
        actions = [*changed, *actions]
        if peer is None:
            return [*actions, *self.cycle.advance(now)]
        if self.cycle.phase is Phase.DRAINING:  # it connected again: BYE once more, so that its account can be closed
            return [*actions, Send(key, Bye(OVER))]
        actions += [Send(key, self._welcome(peer)), *self.histories.joined(hello)]
        self.cycle.rejoined(peer)
        holds = hello.policy == self.cycle.current
        if holds or (self.settings.max_staleness and hello.term == self.settings.term):
            peer.have_version = hello.version
        if peer.ready and self.cycle.is_going_on:
            actions += self._set_going(peer, now, holds=holds)
        elif peer.ready and self.cycle.phase in (Phase.STOPPING, Phase.UPDATING) and hello.version:
            actions += self.cycle.stop(peer, now)  # the first one may have been lost with its old connection
            peer.stopped |= not holds  # acts under an older policy: nothing to wait for
        return actions

    def _set_going(self, peer: Peer, now: float, *, holds: bool) -> list[Action]:
        if holds:
            return self.cycle.resume(peer, now)
        if peer.sent_version == self.cycle.snapshot.version:
            return []  # on this very connection, so it arrives: HELLO must not be worth a policy each time
        return self.cycle.offer_policy(peer, now)

    def _change_spaces(self, hello: Hello, now: float, token: str) -> list[Action]:
        """Drop spaces that were wrong, with all that was collected in them; the trainer begins anew."""
        spaces, peers, idle_seconds = (
            self.peer_table.spaces,
            self.peer_table.peers.values(),
            self.settings.lease_seconds,
        )
        if self.cycle.phase not in CHANGEABLE or not spaces.are_overruled(hello, token, peers, now, idle_seconds):
            return []
        assert hello.spec is not None, "nothing else overrules"
        dropped = self._drop_spaces(hello.spec, "as most actors say")
        spaces.begin(hello.spec, now)
        return dropped

    def _drop_spaces(self, new: Spec, source: str) -> list[Action]:
        actions = self.peer_table.spaces.dropped(new, source, self.peer_table.peers)
        self.peer_table.dismiss()
        self.ledger.drop_pending("invalid")
        self.cycle.change_spaces()
        self.budget.forget()
        return actions

    def _welcome(self, peer: Peer) -> Welcome:
        credit = begin(peer, is_wanted=self.cycle.wants_from(peer), most=self.settings.credit)
        return welcome(self.settings, peer, credit=credit, heartbeat_seconds=self._heartbeat_seconds)

    @property
    def _heartbeat_seconds(self) -> float:
        return min(HEARTBEAT_SECONDS, self.settings.lease_seconds / LEASE_HEARTBEATS)

    def _rollout(self, peer: Peer, header: Rollout, blob: Blob, now: float) -> list[Action]:
        if header.seq > peer.account.watermark + 1 or not peer.ready:
            return self._ask(peer.key, now)  # FIFO makes this impossible for an honest peer; HELLO sorts it out
        actions, wrong = self.rollouts.take(peer, header, blob, now)
        return [*actions, *(self.cycle.advance(now) if wrong is None else self.violation(peer.key, wrong, now))]

    def _credit_withheld(self, peer: Peer) -> list[Action]:
        """Grant what was withheld, once there is room again, or the peer has the newest policy."""
        return [self.rollouts.ack(peer)] if is_due(peer, self.cycle.snapshot.version, most=self.settings.credit) else []

    def _bye(self, peer: Peer, bye: Bye, now: float) -> list[Action]:
        self._observe(peer, bye.tally)
        self.peer_table.forget(peer.key)
        peer.account.may_hold = 0
        entry = Entry.of(peer.account, peer.incarnation, "told", 0)
        self.ledger.close(peer.incarnation, "shutdown")
        # an answer to the learner's own BYE is no news: the run's end is reported once, with its results
        notes: list[Action] = [] if bye.reason in self._farewells else [Note(f"{peer.actor} left: {bye.reason}")]
        return [entry, *notes, *self.cycle.advance(now)]
