"""The learner's side of the protocol, without I/O: messages and clock readings in, messages to send out.

Knows peers, phases, credit, the ledger and the batch; knows no sockets, no threads, no torch. The shell tells it what
arrived, what could not be sent and what time it is, and sends what it returns.
"""

import math

from learner.admission import refusal, superseded_by_newer
from learner.batch import Received
from learner.peers import Action, Latencies, Note, Peer, Send, Settings
from learner.phases import Event, Phase, following
from learner.slots import SlotTable
from learner.validation import check_segment
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
    Reject,
    Rollout,
    Stop,
    Stopped,
    Welcome,
    Who,
)
from protocol.rollout import Blob, Counts, Segment, unpack
from protocol.snapshot import Snapshot
from protocol.specs import Spec

CREDIT = 8  # rollouts in flight; with SEGMENTS_PER_BATCH 4 this is two batches' share
SEGMENTS_PER_BATCH = 4  # an actor reports this often per batch, so that STOP comes soon after the batch is full
MAX_STRIKES = 3
HEARTBEAT_SECONDS = 1.0
MAX_STRIKERS = 4096  # connections whose violations are counted; strangers come and go


class LearnerSession:
    """All peers of one run. Every method returns what the shell has to do, in order."""

    def __init__(self, settings: Settings, ledger: Ledger, slots: SlotTable, spec: Spec | None = None) -> None:
        self.settings = settings
        self.ledger = ledger
        self.slots = slots
        self.spec = spec
        self.phase = Phase.WAITING
        self.snapshot = Snapshot(settings.epoch, 0, b"")
        self.peers: dict[bytes, Peer] = {}
        self.batch: list[Received] = []
        self.batch_steps = 0
        self.latencies = Latencies()
        self.refused_messages = 0
        self._strikes: dict[bytes, int] = {}
        self._stop_sent = 0.0
        self._drain_deadline = math.inf
        self._first_step_seconds: list[float] = []

    # What the shell and the trainer call

    def receive(self, peer_id: bytes, message: FromActor, blob: Blob | None, now: float) -> list[Action]:
        """One message from one connection."""
        if isinstance(message, Hello):
            return self._hello(peer_id, message, now)
        peer = self.peers.get(peer_id)
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
        """Something unreadable came from that connection: count it; three times and it is forgotten."""
        self.refused_messages += 1
        strikes = self._strikes[peer_id] = self._strikes.get(peer_id, 0) + 1
        while len(self._strikes) > MAX_STRIKERS:
            del self._strikes[next(iter(self._strikes))]
        if strikes < MAX_STRIKES:
            return []
        del self._strikes[peer_id]
        peer = self.peers.pop(peer_id, None)
        reject = Reject("protocol", f"{MAX_STRIKES} messages that cannot be read; the last: {error}"[:512], fatal=True)
        return [Send(peer_id, reject), Note(f"{peer.actor if peer else 'a stranger'} was sent away: {error}")]

    def unreachable(self, peer_id: bytes, now: float) -> list[Action]:
        """The transport says that this connection is gone."""
        peer = self.peers.pop(peer_id, None)
        self._strikes.pop(peer_id, None)
        if peer is None:
            return []
        return [Note(f"{peer.actor} is gone (connection lost)"), *self._advance(now)]

    def tick(self, now: float) -> list[Action]:
        """Time passed: leases, the grace after STOP, the end of draining."""
        actions: list[Action] = []
        for peer in [p for p in self.peers.values() if now - p.heard > self.settings.lease_seconds]:
            del self.peers[peer.id]
            self._strikes.pop(peer.id, None)
            actions.append(Note(f"{peer.actor} has been silent for {now - peer.heard:.0f} s; going on without it"))
        if self.phase is Phase.STOPPING and now - self._stop_sent > self.settings.stop_grace_seconds:
            for peer in self._unstopped():
                peer.stopped = True
                actions.append(
                    Note(
                        f"{peer.actor} did not stop within {self.settings.stop_grace_seconds:g} s; going on without it"
                    )
                )
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
        self.peers.clear()  # what they say from now on belongs to no account

    def waiting_for(self, now: float) -> str:
        """Who or what holds the run up, "" if nothing does."""
        if self.phase is Phase.STOPPING:
            late = ", ".join(f"{p.actor} (last heard {now - p.heard:.1f} s ago)" for p in self._unstopped())
            return f"{late}, {now - self._stop_sent:.1f} s after STOP" if late else ""
        if self.phase in (Phase.WAITING, Phase.COLLECTING) and not self.peers:
            return "actors to join"
        return ""

    # HELLO

    def _hello(self, peer_id: bytes, hello: Hello, now: float) -> list[Action]:
        if self.phase is Phase.STOPPED:
            return [Send(peer_id, Bye("the run is over"))]
        no = refusal(hello, run_id=self.settings.run_id, spec=self.spec, superseded=self.ledger.ended)
        if no is not None:
            self.peers.pop(peer_id, None)
            return [Send(peer_id, no), Note(f"{hello.actor} was refused: {no.text}"), *self._advance(now)]
        account = self.ledger.open(hello.incarnation, hello.actor)
        lost = account.reconcile(hello.tally)
        actions = self._supersede(peer_id, hello)
        settings, envs = self.settings, hello.envs or self.settings.envs_per_actor
        known = self.peers.get(peer_id)
        names = {peer.actor for peer in self.peers.values()}
        slots = self.slots.assign(hello.actor, hello.incarnation, envs, in_use=names)
        ready = hello.spec is not None
        if ready and self.spec is None:
            self.spec = hello.spec
        peer = Peer(peer_id, hello.actor, hello.incarnation, slots, account, heard=now, ready=ready)
        peer.steps = known.steps if known else 0
        self.peers[peer_id] = peer
        if self.phase is Phase.DRAINING:  # it connected again: hear it out, so that its account can be closed
            return [*actions, Send(peer_id, Bye("the run is over"))]
        if lost:
            actions.append(Note(f"{hello.actor}: {lost} steps had been accepted by a learner that died; booked"))
        if ready and not (known and known.ready):
            actions.append(Note(f"{hello.actor} joined with {envs} environments"))
        welcome = Welcome(
            PROTOCOL_VERSION,
            settings.run_id,
            settings.epoch,
            settings.env,
            envs,
            slots.first,
            settings.seed,
            slots.life,
            account.watermark,
            CREDIT if ready else 0,
            settings.lease_seconds,
            HEARTBEAT_SECONDS,
            settings.on_stop,
        )
        actions.append(Send(peer_id, welcome))
        if ready and self.phase is Phase.COLLECTING:
            actions += self._offer_policy(peer, now)
        elif ready and self.phase in (Phase.STOPPING, Phase.UPDATING) and (hello.epoch, hello.version) == self._current:
            actions += self._stop(peer)  # the first one may have been lost with its old connection
        return actions

    def _supersede(self, peer_id: bytes, hello: Hello) -> list[Action]:
        """The newest connection of an incarnation wins, and so does the newest incarnation of a name."""
        actions: list[Action] = []
        for other in [p for p in self.peers.values() if p.id != peer_id]:
            if other.incarnation == hello.incarnation:
                del self.peers[other.id]
            elif other.actor == hello.actor:
                del self.peers[other.id]
                actions.append(Send(other.id, superseded_by_newer(hello.actor)))
        for incarnation, account in list(self.ledger.accounts.items()):
            if account.actor == hello.actor and incarnation != hello.incarnation and not account.over:
                self.ledger.close(incarnation, "actor_lost")
        return actions

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
        try:
            segment = self._checked(peer, header, blob)
        except ProtocolError as error:
            return [*self._refuse(peer, header, "invalid", str(error)), *self.violation(peer.id, error)]
        account.accept(header.seq, segment.steps)
        peer.steps += segment.steps
        self.batch.append(Received(peer.actor, peer.incarnation, header.seq, peer.slots.first, segment))
        self.batch_steps += segment.steps
        return [self._ack(peer), *self._advance(now)]

    def _checked(self, peer: Peer, header: Rollout, blob: Blob) -> Segment:
        assert self.spec is not None, "a ready peer has a spec"
        if peer.slots.envs != header.E:
            raise ProtocolError(f"{peer.actor} ships {header.E} environments, not the {peer.slots.envs} it announced")
        segment = unpack(self.spec, Counts(header.T, header.E, header.finals, header.episodes), blob)
        check_segment(self.spec, segment)
        if segment.steps != header.steps or segment.steps == 0:
            raise ProtocolError(f"the header says {header.steps} steps, the blob holds {segment.steps}")
        return segment

    def _refuse(self, peer: Peer, header: Rollout, reason: DropReason, text: str) -> list[Action]:
        peer.account.refuse(header.seq, header.steps, reason)
        return [Send(peer.id, Nack(header.seq, f"{reason}: {text}"[:64])), self._ack(peer)]

    def _ack(self, peer: Peer) -> Send:
        return Send(peer.id, Ack(peer.account.watermark, CREDIT))

    # Stop and go

    def _advance(self, now: float) -> list[Action]:
        """Whatever the table allows now."""
        actions: list[Action] = []
        if self.phase is Phase.COLLECTING and self.batch_steps >= self.settings.batch_steps:
            self.phase = following(self.phase, Event.BATCH_FULL)
            self._stop_sent = now
            for peer in self._unstopped():
                actions += self._stop(peer)
        if self.phase is Phase.STOPPING and not self._unstopped():
            self.phase = following(self.phase, Event.ALL_STOPPED)
            self.latencies = Latencies(now - self._stop_sent, max(self._first_step_seconds, default=math.nan))
        if self.phase is Phase.DRAINING and (not self.peers or now >= self._drain_deadline):
            self.phase = following(self.phase, Event.DRAINED)
        return actions

    def _stop(self, peer: Peer) -> list[Action]:
        peer.stopped = self.phase is not Phase.STOPPING  # the update does not wait for who comes back during it
        return [Send(peer.id, Stop(*self._current, self.settings.stop_grace_seconds))]

    @property
    def _current(self) -> tuple[int, int]:
        """Epoch and version of the newest policy."""
        return self.snapshot.epoch, self.snapshot.version

    def _unstopped(self) -> list[Peer]:
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
        snapshot = self.snapshot
        policy = Policy(snapshot.epoch, snapshot.version, snapshot.digest, self.segment_steps)
        return [Send(peer.id, policy, snapshot.graph)]

    @property
    def segment_steps(self) -> int:
        """T of a rollout message under the current actors."""
        if self.settings.segment_steps:
            return self.settings.segment_steps
        envs = sum(peer.slots.envs for peer in self.peers.values() if peer.ready) or self.settings.envs_per_actor
        return max(1, math.ceil(self.settings.batch_steps / envs / SEGMENTS_PER_BATCH))

    def _bye(self, peer: Peer, bye: Bye, now: float) -> list[Action]:
        del self.peers[peer.id]
        peer.account.observe(bye.tally)
        self.ledger.close(peer.incarnation, "shutdown")
        return [Note(f"{peer.actor} left: {bye.reason}"), *self._advance(now)]
