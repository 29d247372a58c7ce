"""Stop and go: phases, the batch that is collected in them, STOP and POLICY. Part of the session, without I/O."""

import math
from collections.abc import Callable

from dppo.learner.ppo.batch import Received
from dppo.learner.session.batch_in_hand import BatchInHand, withdrawn
from dppo.learner.session.collection_rule import collection_rule
from dppo.learner.session.flow_control import cut_short, segment_steps_of
from dppo.learner.session.peer_table import PeerTable
from dppo.learner.session.phases import TABLE, Event, Phase
from dppo.learner.session.policy_messages import policy_messages
from dppo.learner.session.records import Action, Latencies, Note, Peer, Quota, Send, Settings
from dppo.learner.session.shares import Shares, known_quotas
from dppo.learner.session.stop_answers import Answers
from dppo.protocol.messages import Bye, Extend, Have, Stop, Stopped
from dppo.protocol.snapshot import Snapshot
from dppo.protocol.state_table import following


class CollectionCycle:
    """Policies that actors act under, and the moment when all must stop. Methods return actions, in order."""

    def __init__(self, settings: Settings, peer_table: PeerTable, most_bytes: Callable[[], int]) -> None:
        """most_bytes: that may wait for the update."""
        self.phase = Phase.WAITING
        self.rule = collection_rule(settings)
        self.snapshot = Snapshot(settings.term, 0, b"")
        self.batch = BatchInHand()
        self.latencies = Latencies()
        self.quotas: dict[bytes, Quota] = {}  # by incarnation, of those that were sent the newest policy
        self._settings = settings
        self._peer_table, self._peers = peer_table, peer_table.peers
        self._most_bytes: Callable[[], int] = lambda: self.rule.most_bytes(most_bytes())
        self._shares = Shares(settings, peer_table, self.rule)
        self._answers = Answers(settings.stop_grace_seconds)
        self._drain_deadline = math.inf
        self._was_cut_short = False  # the newest batch, by its bytes
        self._first_step_seconds: list[float] = []

    def _move(self, event: Event) -> None:
        self.phase = following(TABLE, self.phase, event)

    @property
    def current(self) -> tuple[int, int]:
        """Term and version of the newest policy."""
        return self.snapshot.term, self.snapshot.version

    @property
    def is_going_on(self) -> bool:
        """Whether actors act under the newest policy in this phase."""
        return self.phase is Phase.COLLECTING

    @property
    def taken(self) -> BatchInHand:
        """The batch that an update is made of, once the phase is UPDATING."""
        return self.batch

    def batch_for(self, version: int) -> BatchInHand:
        """Return the batch that an accepted rollout of that version goes into."""
        return self.batch

    def has_room(self, peer: Peer) -> bool:
        """Whether there is room for what the peer makes under the newest policy that it was sent."""
        return self.batch.bytes < self._most_bytes()

    def wants_from(self, peer: Peer) -> bool:
        """Whether a peer that joins is given credit at once."""
        return self.is_going_on or peer.have_version == self.snapshot.version

    def release(self) -> None:
        """The batch that was taken is done with."""
        self.batch.begin_next()
        self.quotas = {}

    def discard(self) -> None:
        """Discard what was collected and not trained on."""
        self.batch.begin_next()

    def unstopped(self) -> list[Peer]:
        """Peers that act, or that have not answered STOP yet."""
        return [peer for peer in self._peers.values() if not peer.stopped]

    def accepts(self, incarnation: bytes, seq: int, rows: int, policy: tuple[int, int]) -> bool:
        """Whether a rollout of that number, rows and policy belongs to the batch that is collected now."""
        quota = self.quotas.get(incarnation)
        if quota is None or policy != self.current or self.phase not in (Phase.COLLECTING, Phase.STOPPING):
            return False
        if self.phase is Phase.STOPPING and self.batch.bytes >= 2 * self._most_bytes():
            return False
        return self.rule.accepts(quota, seq, rows)

    def collect(self, received: Received, size: int, peer: Peer, now: float) -> None:
        """One more accepted rollout for the batch, of that many bytes."""
        segment = received.segment
        peer.idle_policies = 0
        peer.columns = max(math.ceil(segment.steps / segment.counts.T), peer.columns // 2)
        peer.quota.delivered_at = now
        self.batch.add(received, size)
        self.batch.is_complete |= self.rule.is_full_with(segment)

    def advance(self, now: float) -> list[Action]:
        """Go on to whatever phase the table allows now."""
        self._look_for_gone(now)
        actions: list[Action] = []
        if self.phase is Phase.COLLECTING:
            actions += self._advance_collecting(now)
        if self.phase is Phase.STOPPING and self._all_are_in():
            self._move(Event.ALL_STOPPED)
            self.latencies = Latencies(now - self._answers.since, max(self._first_step_seconds, default=math.nan))
        if self.phase is Phase.DRAINING and (self._peer_table.is_empty or now >= self._drain_deadline):
            self._move(Event.DRAINED)
        if self.phase is Phase.LEAVING and (not self.unstopped() or now >= self._drain_deadline):
            self._move(Event.DRAINED)
        return actions

    def _all_are_in(self) -> bool:
        """Whether nothing is waited for any more before the update."""
        return self._answers.are_in(self._peers)

    def _advance_collecting(self, now: float) -> list[Action]:
        peers = self._peers.values()
        is_over_budget = bool(self.batch.rollouts) and self.batch.bytes >= self._most_bytes()
        if not (self.batch.is_complete or is_over_budget or self.rule.is_full(self.batch.steps, peers)):
            return self._extend()
        self._move(Event.BATCH_FULL)
        self._answers.begin(now)
        actions = self._cut_short() if is_over_budget and self.batch.steps < self._settings.batch_steps else []
        for peer in self.unstopped():
            actions += self.stop(peer, now)
        return actions

    def _cut_short(self) -> list[Action]:
        """Log a batch that takes all bytes that may wait: it is trained on as it is, or all credit would end."""
        was_cut_short, self._was_cut_short = self._was_cut_short, True
        text = cut_short(self.batch.steps, self._settings.batch_steps, self.batch.bytes, self._most_bytes())
        return [] if was_cut_short else [Note(text)]

    def _extend(self) -> list[Action]:
        """Send those on that have stopped by themselves and are to deliver more."""
        actions: list[Action] = []
        for peer, share in self.rule.another_round(self.batch.steps, self._peers.values()):
            peer.quota.share = share
            actions.append(Send(peer.key, Extend(*self.current, share)))
        return actions

    def _look_for_gone(self, now: float) -> None:
        """Record which peers went before they had stopped, and how long the others had waited for them."""
        for peer in [peer for peer in self._peer_table.take_gone() if not peer.stopped]:
            if self.phase is Phase.STOPPING:
                self._answers.gone(peer, now)
            elif self.phase is Phase.COLLECTING:
                self.rule.gone(peer, self._peers.values(), now)

    @property
    def all_have_loaded(self) -> bool:
        """Whether all act under the newest policy, except for peers that still read an older one."""
        return not any(peer.have_version < peer.sent_version == self.snapshot.version for peer in self._peers.values())

    def give_up_late(self, now: float) -> list[Action]:
        """Go on without those that have not answered STOP in time, or do not deliver their share."""
        actions = self._answers.tick(self._peers, now)
        if self.phase is Phase.STOPPING:
            actions += self._answers.give_up_late(self.snapshot.version, now)
        elif self.phase is Phase.COLLECTING:
            actions += self.rule.excuse_late(self._peers.values(), now)
        return actions

    def begin_collecting(self, version: int, graph: bytes, now: float) -> list[Action]:
        """Make this policy the current one, begin the batch that is collected under it, and send it to all."""
        self._move(Event.PUBLISHED)
        self._was_cut_short &= self.taken.steps < self._settings.batch_steps
        self.release()
        self.rule.begin(now)
        self.snapshot = Snapshot(self._settings.term, version, graph)
        self._first_step_seconds = []
        share = self._shares.rows(self._settings.batch_steps)
        return [action for peer in self._peers.values() for action in self.offer_policy(peer, now, share)]

    def change_spaces(self) -> None:
        """Discard what was collected, and wait for the first policy for other spaces."""
        self._move(Event.SPACES_CHANGED)
        self.discard()
        self.quotas = {}
        self._shares.forget()

    def finish(self, reason: str, now: float) -> list[Action]:
        """The run is over: BYE to all, and a deadline for their last words."""
        self._move(Event.FINISH)
        self.discard()
        self._drain_deadline = now + self._settings.stop_grace_seconds
        return [Send(peer.key, Bye(reason)) for peer in self._peers.values()] + self.advance(now)

    def leave(self, now: float) -> list[Action]:
        """The learner ends: STOP to all that act, and a deadline for what they have begun."""
        told = self.phase is Phase.STOPPING and not self._settings.max_staleness
        self._move(Event.LEAVE)
        self.discard()
        self._drain_deadline = now + self._settings.stop_grace_seconds
        stops = [action for peer in ([] if told else self.unstopped()) for action in self.stop(peer, now)]
        return stops + self.advance(now)

    def stop(self, peer: Peer, now: float) -> list[Action]:
        """Send STOP to the peer, and wait for its answer where that is worth it."""
        peer.quota.last = peer.quota.last or peer.credit_upto + 1  # one more than credit is what a stop cuts
        # do not wait for peers that rejoined during the update or are still downloading their policy
        unread = peer.is_slow and peer.have_version < peer.sent_version
        is_awaited = not unread and self.phase in (Phase.STOPPING, Phase.LEAVING)
        peer.stopped = not is_awaited
        if is_awaited:
            self._answers.wait_for(peer, self.snapshot.version, now)
        return [Send(peer.key, Stop(*self.current, self._settings.stop_grace_seconds))]

    def stopped(self, peer: Peer, message: Stopped, now: float) -> list[Action]:
        """Take a peer's answer to STOP."""
        actions = self._answers.answered(peer, message.version, now) if message.term == self.snapshot.term else []
        if (message.term, message.version) != self.current:
            return actions
        peer.stopped = True
        peer.account.is_idle = True
        if message.first_step_seconds > 0 and peer.have_version == message.version:
            seconds = min(message.first_step_seconds, now - peer.have_at)  # by its clock, so bounded by ours
            self._first_step_seconds.append(peer.have_at - peer.policy_sent_at + seconds)
        return [*actions, *self.advance(now)]

    def have(self, peer: Peer, have: Have, now: float) -> list[Action]:
        """Note that the peer has loaded a policy."""
        if have.term != self.snapshot.term:
            return []
        peer.have_version, peer.have_at = have.version, now
        peer.is_slow = False
        if self.phase is Phase.STOPPING and have.version == self.snapshot.version and peer.stopped:
            self._answers.wait_for(peer, have.version, now)  # it begins only now; STOP is already on the way
        return self.offer_policy(peer, now) if peer.policy_due else []

    def offer_policy(self, peer: Peer, now: float, share: int = 0) -> list[Action]:
        """Send the newest policy, at most one in flight: a slow reader skips versions.

        share: of the batch, in rows of every environment; 0: find it out, for an actor that comes later.
        """
        if not peer.ready or not self.is_going_on or not self.rule.has_work_for(peer):
            return []
        if peer.sent_version > peer.have_version:
            peer.policy_due = True
            return []
        if not self._peer_table.may_fetch(peer, self.snapshot, now):
            return []
        peer.policy_due = peer.stopped = False
        peer.sent_version, peer.policy_sent_at = self.snapshot.version, now
        peer.idle_policies += 1
        gone, parts = self._take_quota(peer, share, now), self._peer_table.relays.parts(peer, self.snapshot)
        cuts, on_stop = self.rule.cuts_at_episode_end, self._settings.on_stop
        return [*gone, *policy_messages(peer, self.snapshot, parts, cuts_at_episode_end=cuts, on_stop=on_stop)]

    def _take_quota(self, peer: Peer, share: int, now: float) -> list[Action]:
        """Give the peer its quota under the newest policy; the same again if it was sent one before."""
        quota, actions = self.quotas.get(peer.incarnation), []
        if quota is None:
            self.quotas = known_quotas(self.quotas, self._peer_table.ledger.accounts)
            for incarnation in self.rule.take_over(peer):
                self.quotas.pop(incarnation, None)
                why = f"{peer.actor} goes on with its environments"
                actions += withdrawn(self.batch, self._peer_table.ledger, incarnation, why)
            quota = self.quotas[peer.incarnation] = self._shares.quota(peer, share, now)
        peer.quota = quota
        return actions

    def spoilt(self, peer: Peer) -> list[Action]:
        """Have the peer make its share anew where rows of it cannot be used, and the rule counts whole shares."""
        share = self.rule.spoilt(peer)
        if not share:
            return []
        peer.quota.share = share
        gone = withdrawn(self.batch, self._peer_table.ledger, peer.incarnation, "what follows cannot be used")
        return [*gone, Send(peer.key, Extend(*self.current, share))]

    def rejoined(self, peer: Peer) -> None:
        """Go on with the quota of the process: what it made on its former connection comes again on this one."""
        peer.quota = self.quotas.get(peer.incarnation, peer.quota)

    def resume(self, peer: Peer, now: float) -> list[Action]:
        """A peer on a new connection, which has the newest policy already: it goes on under that."""
        if peer.incarnation not in self.quotas or not self.is_going_on:
            return self.offer_policy(peer, now)
        peer.sent_version = self.snapshot.version
        peer.policy_sent_at = peer.have_at = now
        peer.stopped = False
        return [Send(peer.key, Extend(*self.current, peer.quota.share))]

    def arrived(self, peer: Peer, rows: int, now: float) -> None:
        """Count rows that came under the newest policy, also unusable ones: the actor does not step them again."""
        was_exhausted = peer.quota.is_exhausted
        peer.quota.rows += rows
        if peer.quota.is_exhausted and not was_exhausted:
            self.rule.share_delivered(peer, now)

    @property
    def segment_steps(self) -> int:
        """T of a rollout message under the current actors, as far as it does not depend on their sizes."""
        return segment_steps_of(self._shares.rows(self._settings.batch_steps), self._settings.segment_steps)
