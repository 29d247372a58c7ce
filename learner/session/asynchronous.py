"""Collecting without STOP: actors go on while the learner trains, as far as their steps do not become too old. No I/O.

A step that was made under version u, and that the update on top of version v trains on, has the staleness v - u, at
most K. Batches are filled one behind the other, each for an update that is known: the one in front for the next, and so
on. So the newest batch that a step may go into is known when it arrives. Actors have credit as long as that batch is
not full; what they make beyond it (credit is small) goes into it as well.
"""

from collections import deque
from collections.abc import Callable

from dppo.learner.ppo.batch import Received
from dppo.learner.session.batch_in_hand import BatchInHand
from dppo.learner.session.collection import CollectionCycle
from dppo.learner.session.peer_table import PeerTable
from dppo.learner.session.phases import Event, Phase
from dppo.learner.session.records import Action, Note, Peer, Settings
from dppo.learner.session.shares import known_quotas
from dppo.learner.session.stop_answers import LOADING_SECONDS
from dppo.learner.storage.kept_batches import KeptBatches
from dppo.protocol.messages import Have

GOING_ON = (Phase.COLLECTING, Phase.STOPPING, Phase.UPDATING)
FADING = 0.9  # of the longest time that a peer took to load a policy, with each one that follows
MAX_NOTED = 1024


class AsynchronousCycle(CollectionCycle):
    """Policies that actors act under, without a moment when all must stop."""

    def __init__(self, settings: Settings, peer_table: PeerTable, most_bytes: Callable[[], int]) -> None:
        """most_bytes: that may wait, in all batches."""
        super().__init__(settings, peer_table, most_bytes)
        self._most = settings.max_staleness
        self._batches = deque([self.batch])  # the front one is trained on next; `batch` is the one that is filled
        self._taken: BatchInHand | None = None
        self._kept_version = 0  # of the checkpoint whose batches these are, until a policy is published
        self._late: list[Peer] = []  # STOPPING: among them are all that may still deliver what is too old afterwards
        self._oldest = 0  # STOPPING: version that is not too old afterwards
        self._notes: list[Action] = []  # for the next tick
        self._noted: set[str] = set()  # actors that delivered too late

    @property
    def is_going_on(self) -> bool:
        """Whether actors act under the newest policy in this phase."""
        return self.phase in GOING_ON

    @property
    def taken(self) -> BatchInHand:
        """The batch that an update is made of, once the phase is UPDATING; an empty one before the first."""
        return self._taken or BatchInHand(0)

    @property
    def in_hand(self) -> list[BatchInHand]:
        """All batches, oldest first; the one included that is trained on."""
        return [*([] if self._taken is None else [self._taken]), *self._batches]

    @property
    def bytes_in_hand(self) -> int:
        """Bytes of all batches, the one included that is trained on."""
        return sum(batch.bytes for batch in self.in_hand)

    def take_over(self, kept: KeptBatches) -> None:
        """Go on with the batches that a checkpoint kept, before the first policy is published."""
        if not kept.batches:
            return
        self._kept_version = kept.version
        self._batches = deque(BatchInHand(number) for number in range(1, len(kept.batches) + 1))
        self.batch = self._batches[-1]
        for batch, rollouts in zip(self._batches, kept.batches, strict=True):
            for received, size in rollouts:
                batch.add(received, size)

    def begin_collecting(self, version: int, graph: bytes, now: float) -> list[Action]:
        """Make this policy the current one. The first one has the weights of the checkpoint, under another number."""
        if self._kept_version:
            for batch in self._batches:
                batch.renumber(version - self._kept_version)
            self._kept_version = 0
        return super().begin_collecting(version, graph, now)

    def _most_place(self, version: int) -> int:
        """Return the last place among the batches for steps of that version; below 0: there is none."""
        updates_before = self.phase is Phase.UPDATING
        return self._most - (self.snapshot.version - version) - updates_before

    def _is_full(self, batch: BatchInHand) -> bool:
        return batch.is_complete or self.rule.is_full(batch.steps, self._peers.values())

    def _begin_batch_if_full(self) -> None:
        """Let the next batch begin behind one that is full, as long as new steps may go into it."""
        last = self._most_place(self.snapshot.version)
        if not self._batches or (self._is_full(self._batches[-1]) and len(self._batches) <= last):
            self._batches.append(BatchInHand(self.batch.number + 1))
        self.batch = self._batches[-1]

    def accepts(self, incarnation: bytes, seq: int, rows: int, policy: tuple[int, int]) -> bool:
        """Whether a rollout of that policy belongs into any batch."""
        term, version = policy
        if not self.is_going_on or term != self.snapshot.term or version > self.snapshot.version:
            return False
        quota = self.quotas.get(incarnation)
        if quota is None or not self.rule.accepts(quota, seq, rows):
            return False
        if self._most_place(version) >= 0:
            return True
        self._note_too_late(incarnation, self.snapshot.version - version + (self.phase is Phase.UPDATING))
        return False

    def _note_too_late(self, incarnation: bytes, staleness: int) -> None:
        """Log once which actor's steps are dropped, and what would let it contribute."""
        actor = self._peer_table.ledger.accounts[incarnation].actor
        if actor in self._noted:
            return
        if len(self._noted) >= MAX_NOTED:
            self._noted.clear()
        self._noted.add(actor)
        text = (
            f"{actor} delivered a step when {staleness} updates had begun since it chose the action, and "
            f"collect.max_staleness={self._most}: what comes that late is dropped, and not waited for. A larger "
            "max_staleness (at most 8) or larger batches would let it contribute"
        )
        self._notes.append(Note(text))

    def batch_for(self, version: int) -> BatchInHand:
        """Return the batch that an accepted rollout of that version goes into."""
        return self._batches[min(self._most_place(version), len(self._batches) - 1)]

    def _has_room_for(self, version: int) -> bool:
        if self.bytes_in_hand >= self._most_bytes() or self._is_full(self.batch):
            return False
        return self._most_place(version) >= len(self._batches) - 1

    def has_room(self, peer: Peer) -> bool:
        """Whether there is room for what the peer makes under the newest policy that it was sent."""
        return self._has_room_for(peer.sent_version)

    def wants_from(self, peer: Peer) -> bool:
        """Whether a peer that joins is given credit at once: by the policy that it holds, if any."""
        return self.is_going_on and self._has_room_for(peer.have_version or self.snapshot.version)

    def collect(self, received: Received, size: int, peer: Peer, now: float) -> None:
        """One more accepted rollout, of that many bytes, for the batch of its version."""
        self.batch = self.batch_for(received.version)
        super().collect(received, size, peer, now)
        self._begin_batch_if_full()

    def advance(self, now: float) -> list[Action]:
        """Go on to whatever phase the table allows now; UPDATING takes the batch in front."""
        actions = super().advance(now)
        if self.phase is Phase.UPDATING and self._taken is None:
            self._taken = self._batches.popleft()
            self._begin_batch_if_full()
        return actions

    def _advance_collecting(self, now: float) -> list[Action]:
        first = self._batches[0]
        is_over_budget = bool(first.rollouts) and self.bytes_in_hand >= self._most_bytes()
        if not (self._is_full(first) or is_over_budget):
            return []
        self._move(Event.BATCH_FULL)
        self._answers.begin(now)
        self._oldest = self.snapshot.version + 1 - self._most
        self._late = [peer for peer in self._peers.values() if 0 < peer.have_version < self._oldest]
        self._look_for_slow(now)
        return self._cut_short() if is_over_budget and not self._is_full(first) else []

    def _look_for_slow(self, now: float) -> None:
        """Wait only for peers that load a policy within a moment: between two of their steps, and it is on its way."""
        self._late = [
            peer
            for peer in self._late
            if peer.load_seconds <= LOADING_SECONDS and now <= peer.policy_sent_at + LOADING_SECONDS
        ]

    def _all_are_in(self) -> bool:
        """Whether nothing is expected that could be trained on now, and later not. Looks at each peer once."""
        late, peers = self._late, self._peers
        while late and (late[-1].have_version >= self._oldest or peers.get(late[-1].key) is not late[-1]):
            late.pop()
        return not late

    def give_up_late(self, now: float) -> list[Action]:
        """Go on without those that do not load the newest policy within a moment."""
        self._look_for_slow(now)
        notes, self._notes = self._notes, []
        return notes

    def _look_for_gone(self, now: float) -> None:
        """Forget which peers went: no peer is waited for."""
        self._peer_table.take_gone()

    def have(self, peer: Peer, have: Have, now: float) -> list[Action]:
        """Note that the peer has loaded a policy: what it made under older ones has arrived before."""
        if have.term == self.snapshot.term:
            peer.load_seconds = max(now - peer.policy_sent_at, FADING * peer.load_seconds)
        return [*super().have(peer, have, now), *self.advance(now)]

    def _take_quota(self, peer: Peer, share: int, now: float) -> list[Action]:
        """Give the peer its quota under the newest policy; what it makes under older ones may still come."""
        before = self.quotas.get(peer.incarnation)
        self.quotas = known_quotas(self.quotas, self._peer_table.ledger.accounts)
        quota = self.quotas[peer.incarnation] = peer.quota = self._shares.quota(peer, share, now)
        if before is not None:
            quota.longest = max(quota.longest, before.longest)
        return []

    def release(self) -> None:
        """The batch that was taken is done with. While UPDATING lasts, because the run ends, no other is taken."""
        self._taken = BatchInHand(self.taken.number) if self.phase is Phase.UPDATING else None
        self._begin_batch_if_full()

    def discard(self) -> None:
        """Discard what was collected and not trained on."""
        self.batch = BatchInHand(self.batch.number + 1)
        self._batches, self._taken = deque([self.batch]), None


def in_hand(cycle: CollectionCycle) -> tuple[tuple[Received, ...], ...]:
    """Return the batches that a checkpoint keeps: none where actors stop, for it is written before the next begins."""
    if not isinstance(cycle, AsynchronousCycle):
        return ()
    return tuple(tuple(batch.rollouts) for batch in cycle.in_hand)


def take_over(cycle: CollectionCycle, kept: KeptBatches) -> None:
    """Go on with what a checkpoint kept, before the first policy is published; the ledger has it already."""
    if isinstance(cycle, AsynchronousCycle):
        cycle.take_over(kept)
