"""Put an arriving rollout into the batch, or refuse and count it. Part of the session, without I/O."""

import msgspec

from dppo.learner.ppo.batch import Received
from dppo.learner.session.collection import CollectionCycle
from dppo.learner.session.credit import acknowledge, acknowledge_stale
from dppo.learner.session.env_faults import EnvFaults
from dppo.learner.session.peer_table import PeerTable
from dppo.learner.session.phases import Phase
from dppo.learner.session.plausibility import believable_steps, contradiction
from dppo.learner.session.records import Action, Peer, Send, Settings
from dppo.learner.session.rollout_validation import Unusable, checked_segment
from dppo.learner.session.run_histories import Histories
from dppo.learner.storage.journal_records import Entry
from dppo.protocol.account import DropReason
from dppo.protocol.errors import HostileError, ProtocolError
from dppo.protocol.limits import SEGMENT_BYTES
from dppo.protocol.messages import Nack, Rollout
from dppo.protocol.rollout import Blob, most_rows

Taken = tuple[list[Action], ProtocolError | None]  # what to do, and what was wrong with the rollout


class Rollouts:
    """Takes rollouts in, in the order of their numbers."""

    def __init__(
        self,
        settings: Settings,
        peer_table: PeerTable,
        cycle: CollectionCycle,
        env_faults: EnvFaults,
        histories: Histories,
    ) -> None:
        self._settings = settings
        self._peer_table = peer_table
        self._cycle = cycle
        self._env_faults = env_faults
        self._histories = histories

    def take(self, peer: Peer, header: Rollout, blob: Blob, now: float) -> Taken:
        """One rollout: a duplicate, or the next one."""
        peer.open_steps = 0  # it was sealed after the newest PING; the next one counts anew
        if header.seq <= peer.account.watermark:
            peer.account.duplicates += 1
            return [self.ack(peer)], None
        lie = contradiction(header, len(blob), peer.slots.envs)
        if lie:  # what it says must not get into the books
            header = msgspec.structs.replace(header, steps=believable_steps(header, len(blob)))
        if self._cycle.phase in (Phase.DRAINING, Phase.LEAVING, Phase.STOPPED):
            return self._refuse(peer, header, "shutdown", "this learner ends"), None
        if header.seq > peer.credit_upto + 1:  # one more than credit is what a stop cuts
            error = HostileError(f"rollout {header.seq}, with credit up to {peer.credit_upto}")
            return self._refuse(peer, header, "invalid", str(error)), error
        if lie:
            return self._refuse(peer, header, "invalid", lie), ProtocolError(lie)
        self._peer_table.peer_limits.give_back(peer.key, 1)  # credit asked for it, whatever is in it
        if not self._cycle.accepts(peer.incarnation, header.seq, header.T, (header.term, header.version)):
            return self._refuse(peer, header, "stale", self._histories.why_stale(header.term)), None
        asked, most = peer.quota.longest, most_rows(peer.quota.longest)
        if most < header.T:
            wrong = ProtocolError(f"{header.T} rows in a rollout, where {asked} were asked for")
            return self._refuse(peer, header, "invalid", str(wrong)), wrong
        self._cycle.arrived(peer, header.T, now)
        return self._collect(peer, header, blob, now)

    def _collect(self, peer: Peer, header: Rollout, blob: Blob, now: float) -> Taken:
        spec = self._peer_table.rollout_spec
        assert spec is not None, "a ready peer has a spec"
        try:
            may_be_empty = self._cycle.rule.accepts_resets_alone
            segment = checked_segment(spec, header, blob, envs=peer.slots.envs, may_be_empty=may_be_empty)
        except Unusable as error:  # an honest actor with a broken environment, or our own policy: no strike
            refused = self._refuse(peer, header, "invalid", str(error))
            return [*refused, *self._env_faults.refused(peer, error.array, error.what), *self._cycle.spoilt(peer)], None
        except ProtocolError as error:
            return [*self._refuse(peer, header, "invalid", str(error)), *self._cycle.spoilt(peer)], error
        batch = self._cycle.batch_for(header.version)
        peer.account.accept(header.seq, segment.steps, batch=batch.number)
        peer.steps += segment.steps
        peer.active_at = now
        policy = header.term, header.version
        life = peer.slots.life
        received = Received(peer.actor, peer.incarnation, header.seq, peer.slots.first, segment, *policy, life)
        self._cycle.collect(received, SEGMENT_BYTES + len(blob), peer, now)
        entry = Entry.of(peer.account, peer.incarnation, "accepted", segment.steps)
        return [entry, self.ack(peer)], None

    def _refuse(self, peer: Peer, header: Rollout, reason: DropReason, text: str) -> list[Action]:
        peer.account.refuse(header.seq, header.steps, reason)
        if header.term != self._settings.term:  # it may have been in a part of the journal that is gone
            self._peer_table.ledger.unaccounted.add(least=-header.steps, most=0)
        entry = Entry.of(peer.account, peer.incarnation, reason, header.steps)
        ack = acknowledge_stale(peer) if reason == "stale" else self.ack(peer)
        return [entry, Send(peer.key, Nack(header.seq, f"{reason}: {text}"[:64])), ack]

    def ack(self, peer: Peer) -> Send:
        """Acknowledge what is disposed of, with credit while there is room; else the next update brings it."""
        return acknowledge(peer, has_room=self._cycle.has_room(peer), most=self._settings.credit)
