"""The learner's side of the protocol, without I/O: messages and clock readings in, messages to send out.

Knows peers, phases, credit, the ledger and the batch; knows no sockets, no threads, no torch. The shell tells it what
arrived, what could not be sent and what time it is, and sends what it returns.
"""

import math

from learner.batch import Received
from learner.peers import Action, Latencies, Note, Peer, Send, Settings
from learner.phases import Event, Phase, following
from learner.roster import Roster
from learner.slots import SlotTable
from learner.validation import checked_segment
from protocol import PROTOCOL_VERSION
from protocol.errors import ProtocolError
from protocol.ledger import DropReason, Ledger
from protocol.messages import (
    Ack,
    Bye,
    FromActor,
    Have,
    Hello,
    Nack,
    Ping,
    Policy,
    Pong,
    Rollout,
    Stop,
    Stopped,
    Welcome,
    Who,
)
from protocol.rollout import Blob
from protocol.snapshot import Snapshot
from protocol.specs import Spec

CREDIT = 8  # rollouts in flight; with SEGMENTS_PER_BATCH 4 this is two batches' share
SEGMENTS_PER_BATCH = 4  # an actor reports this often per batch, so that STOP comes soon after the batch is full
HEARTBEAT_SECONDS = 1.0


class LearnerSession:
    """All peers of one run. Every method returns what the shell has to do, in order."""

    def __init__(self, settings: Settings, ledger: Ledger, slots: SlotTable, spec: Spec | None = None) -> None:
        self.settings = settings
        self.ledger = ledger
        self.slots = slots
        self.roster = Roster(settings, ledger, slots, spec)
        self.peers = self.roster.peers  # live connections that said HELLO, by connection
        self.phase = Phase.WAITING
        self.snapshot = Snapshot(settings.epoch, 0, b"")
        self.batch: list[Received] = []
        self.batch_steps = 0
        self.latencies = Latencies()
        self.refused_messages = 0
        self.stop_sent_at = 0.0
        self._drain_deadline = math.inf
        self._first_step_seconds: list[float] = []

    @property
    def spec(self) -> Spec | None:
        """The run's spaces, once the first actor has said them."""
        return self.roster.spec

    def receive(self, peer_id: bytes, message: FromActor, blob: Blob | None, now: float) -> list[Action]:
        """One message from one connection."""
        if isinstance(message, Hello):
            return self._hello(peer_id, message, now)
        peer = self.roster.heard_of(peer_id)
        if peer is None:
            return [Send(peer_id, Who())]
        peer.heard = now
        match message:
            case Rollout():
                assert blob is not None, "the codec lets no ROLLOUT through without its blob"
                return self._rollout(peer, message, blob, now)
            case Have():
                return self._have(peer, message, now)
            case Stopped():
                return self._stopped(peer, message, now)
            case Ping():
                peer.account.observe(message.tally)
                peer.shares = message.shares
                return [Send(peer_id, Pong(message.time))]
            case Bye():
                return self._bye(peer, message, now)

    def violation(self, peer_id: bytes, error: ProtocolError) -> list[Action]:
        """Something unreadable came from that connection: count it; after three the connection is sent away."""
        self.refused_messages += 1
        return self.roster.strike(peer_id, error)

    def unreachable(self, peer_id: bytes, now: float) -> list[Action]:
        """The transport says that this connection is gone."""
        peer = self.roster.lose(peer_id)
        if peer is None:
            return []
        return [Note(f"{peer.actor} is gone (connection lost)"), *self._advance(now)]

    def tick(self, now: float) -> list[Action]:
        """Time passed: leases, the grace after STOP, the end of draining."""
        actions = self.roster.expire(now)
        if self.phase is Phase.STOPPING and now - self.stop_sent_at > self.settings.stop_grace_seconds:
            for peer in self.unstopped():
                peer.stopped = True
                grace = f"{self.settings.stop_grace_seconds:g} s"
                actions.append(Note(f"{peer.actor} did not stop within {grace}; going on without it"))
        return actions + self._advance(now)

    def publish(self, version: int, graph: bytes, now: float) -> list[Action]:
        """A new policy: the batch is done with, everyone goes on under this one."""
        if version <= self.snapshot.version:
            raise ValueError(f"version {version} after {self.snapshot.version}: versions only rise")
        self.phase = following(self.phase, Event.PUBLISHED)
        self.ledger.train()
        self.batch, self.batch_steps = [], 0
        self.snapshot = Snapshot(self.settings.epoch, version, graph)
        self._first_step_seconds = []
        actions: list[Action] = []
        for peer in self.peers.values():
            actions += self._offer_policy(peer, now)
        return actions

    def finish(self, reason: str, drop: DropReason, now: float) -> list[Action]:
        """The run is over: say BYE to all, wait for their last words. Untrained steps are dropped for that reason."""
        if self.phase in (Phase.DRAINING, Phase.STOPPED):
            return []
        self.phase = following(self.phase, Event.FINISH)
        self.ledger.drop_pending(drop)
        self.batch, self.batch_steps = [], 0
        self.roster.lost.clear()  # those lost from now on may have said BYE first
        self._drain_deadline = now + self.settings.stop_grace_seconds
        return [Send(peer.id, Bye(reason)) for peer in self.peers.values()] + self._advance(now)

    def mark_trained(self) -> None:
        """The update on the current batch is done, though no policy follows (the run ends here)."""
        self.ledger.train()
        self.batch, self.batch_steps = [], 0

    def close_accounts(self) -> None:
        """After STOPPED: whatever is still in flight is lost."""
        connected = {peer.incarnation for peer in self.peers.values()}
        for incarnation in list(self.ledger.accounts):
            if incarnation in connected:
                self.ledger.close(incarnation, "shutdown")
            else:
                self.ledger.write_off(incarnation)
        self.roster.dismiss()  # what they say from now on belongs to no account

    # HELLO

    def _hello(self, peer_id: bytes, hello: Hello, now: float) -> list[Action]:
        if self.phase is Phase.STOPPED:
            return [Send(peer_id, Bye("the run is over"))]
        peer, actions = self.roster.admit(peer_id, hello, now)
        if peer is None:
            return [*actions, *self._advance(now)]
        if self.phase is Phase.DRAINING:  # it connected again: hear it out, so that its account can be closed
            return [*actions, Send(peer_id, Bye("the run is over"))]
        actions.append(Send(peer_id, self._welcome(peer)))
        if peer.ready and self.phase is Phase.COLLECTING:
            actions += self._offer_policy(peer, now)
        elif peer.ready and self.phase in (Phase.STOPPING, Phase.UPDATING) and hello.policy == self._current:
            actions += self._stop(peer)  # the first one may have been lost with its old connection
        return actions

    def _welcome(self, peer: Peer) -> Welcome:
        settings = self.settings
        return Welcome(
            PROTOCOL_VERSION,
            settings.run_id,
            settings.epoch,
            settings.env,
            peer.slots.envs,
            peer.slots.first,
            settings.seed,
            peer.slots.life,
            peer.account.watermark,
            CREDIT if peer.ready else 0,
            settings.lease_seconds,
            HEARTBEAT_SECONDS,
            settings.on_stop,
        )

    # Rollouts

    def _rollout(self, peer: Peer, header: Rollout, blob: Blob, now: float) -> list[Action]:
        account = peer.account
        if header.seq <= account.watermark:
            account.duplicates += 1
            return [self._ack(peer)]
        if header.seq != account.watermark + 1 or not peer.ready:
            return [Send(peer.id, Who())]  # FIFO makes this impossible for an honest peer; HELLO sorts it out
        if self.phase in (Phase.DRAINING, Phase.STOPPED):
            return self._refuse(peer, header, "shutdown", "the run is over")
        if (header.epoch, header.version) != self._current or self.phase not in (Phase.COLLECTING, Phase.STOPPING):
            return self._refuse(peer, header, "stale", "made under an older policy")
        peer.rows += header.T  # whatever is in it: its actor does not step them again
        try:
            assert self.spec is not None, "a ready peer has a spec"
            segment = checked_segment(self.spec, header, blob, envs=peer.slots.envs)
        except ProtocolError as error:
            refused = [*self._refuse(peer, header, "invalid", str(error)), *self.violation(peer.id, error)]
            return [*refused, *self._advance(now)]
        account.accept(header.seq, segment.steps)
        peer.steps += segment.steps
        self.batch.append(Received(peer.actor, peer.incarnation, header.seq, peer.slots.first, segment))
        self.batch_steps += segment.steps
        return [self._ack(peer), *self._advance(now)]

    def _refuse(self, peer: Peer, header: Rollout, reason: DropReason, text: str) -> list[Action]:
        peer.account.refuse(header.seq, header.steps, reason)
        return [Send(peer.id, Nack(header.seq, f"{reason}: {text}"[:64])), self._ack(peer)]

    def _ack(self, peer: Peer) -> Send:
        return Send(peer.id, Ack(peer.account.watermark, CREDIT))

    # Stop and go

    def _advance(self, now: float) -> list[Action]:
        """Whatever the table allows now."""
        actions: list[Action] = []
        if self.phase is Phase.COLLECTING and self.settings.full(self.batch, self.batch_steps):
            self.phase = following(self.phase, Event.BATCH_FULL)
            self.stop_sent_at = now
            for peer in self.unstopped():
                actions += self._stop(peer)
        if self.phase is Phase.COLLECTING and all(peer.exhausted for peer in self.unstopped()):
            for peer in self.unstopped():  # someone died with its share, or rows were resets: another round
                actions += self._offer_policy(peer, now)
        if self.phase is Phase.STOPPING and not self.unstopped():
            self.phase = following(self.phase, Event.ALL_STOPPED)
            self.latencies = Latencies(now - self.stop_sent_at, max(self._first_step_seconds, default=math.nan))
        if self.phase is Phase.DRAINING and (self.roster.is_empty or now >= self._drain_deadline):
            self.phase = following(self.phase, Event.DRAINED)
        return actions

    def _stop(self, peer: Peer) -> list[Action]:
        peer.stopped = self.phase is not Phase.STOPPING  # the update does not wait for who comes back during it
        return [Send(peer.id, Stop(*self._current, self.settings.stop_grace_seconds))]

    @property
    def _current(self) -> tuple[int, int]:
        """Epoch and version of the newest policy."""
        return self.snapshot.epoch, self.snapshot.version

    def unstopped(self) -> list[Peer]:
        """Peers that act, or that have not answered STOP yet."""
        return [peer for peer in self.peers.values() if not peer.stopped]

    def _stopped(self, peer: Peer, message: Stopped, now: float) -> list[Action]:
        peer.account.observe(message.tally)
        if (message.epoch, message.version) != self._current:
            return []
        peer.stopped = True
        if message.first_step_seconds > 0 and peer.have_version == message.version:
            self._first_step_seconds.append(peer.have_at - peer.policy_sent_at + message.first_step_seconds)
        return self._advance(now)

    def _have(self, peer: Peer, have: Have, now: float) -> list[Action]:
        if have.epoch != self.snapshot.epoch:
            return []
        peer.have_version = have.version
        peer.have_at = now
        return self._offer_policy(peer, now) if peer.policy_due else []

    def _offer_policy(self, peer: Peer, now: float) -> list[Action]:
        """Send the newest policy, at most one in flight: a slow reader skips versions."""
        if not peer.ready or self.phase is not Phase.COLLECTING:
            return []
        if peer.sent_version > peer.have_version:
            peer.policy_due = True
            return []
        peer.policy_due = False
        peer.sent_version = self.snapshot.version
        peer.policy_sent_at = now
        peer.stopped = False
        peer.rows, peer.share = 0, self._share() if self.settings.even_shares else 0
        cut = self.settings.stop_at_episode_end
        policy = Policy(*self._current, self.snapshot.digest, self.segment_steps, cut, peer.share)
        return [Send(peer.id, policy, self.snapshot.graph)]

    @property
    def segment_steps(self) -> int:
        """T of a rollout message under the current actors."""
        return self.settings.segment_steps or math.ceil(self._share() / SEGMENTS_PER_BATCH)

    def _share(self) -> int:
        """Rows of every environment that make a batch together."""
        envs = sum(peer.slots.envs for peer in self.peers.values() if peer.ready) or self.settings.envs_per_actor
        return math.ceil(self.settings.batch_steps / envs)

    def _bye(self, peer: Peer, bye: Bye, now: float) -> list[Action]:
        self.roster.forget(peer.id)
        peer.account.observe(bye.tally)
        self.ledger.close(peer.incarnation, "shutdown")
        return [Note(f"{peer.actor} left: {bye.reason}"), *self._advance(now)]
