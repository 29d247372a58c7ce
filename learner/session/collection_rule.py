"""Collection rules: what a batch accepts, when it is full, each actor's share. Pure.

A rule reads peers, their quotas and clock readings, and says what follows; the cycle (collection.py) sends and counts.
Knows no phases, no connections, no messages.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from dppo.learner.session.even_shares import EvenShares
from dppo.learner.session.exact_quota import ExactQuota
from dppo.learner.session.quorum import Quorum
from dppo.learner.session.records import Action, Peer, Quota, Settings
from dppo.learner.session.rule_defaults import RuleDefaults
from dppo.learner.session.together import Together
from dppo.protocol.rollout import Segment


class CollectionRule(Protocol):
    """Decisions of one way to collect a batch. `steps`: in the batch; `peers`: all that are connected."""

    @property
    def cuts_at_episode_end(self) -> bool:
        """Whether actors cut a segment where an episode ends."""
        ...

    @property
    def accepts_resets_alone(self) -> bool:
        """Whether a segment without a single step is accepted."""
        ...

    def most_bytes(self, most: int) -> int:
        """Return the bytes of a batch that is trained on as it is. most: that may wait for an update."""
        ...

    def begin(self, now: float) -> None:
        """Begin to collect, under a new policy."""
        ...

    def share(self, rows: int) -> int:
        """Return the rows after which an actor stops by itself, 0: only at STOP. `rows`: of an even division."""
        ...

    def is_given_up(self, peer: Peer) -> bool:
        """Whether the batch is divided among the others alone."""
        ...

    def has_work_for(self, peer: Peer) -> bool:
        """Whether the peer is to act under the newest policy."""
        ...

    def take_over(self, peer: Peer) -> Sequence[bytes]:
        """Note that the peer is given its quota. Return incarnations whose steps do not count in the batch any more."""
        ...

    def spoilt(self, peer: Peer) -> int:
        """Return the rows after which the peer stops, where all it made before does not count; 0: what it made counts.

        It has delivered rows that cannot be used.
        """
        ...

    def accepts(self, quota: Quota, seq: int, rows: int) -> bool:
        """Whether the actor's rollout of that number, made under the newest policy, goes into the batch."""
        ...

    def is_full_with(self, segment: Segment) -> bool:
        """Whether the batch is full once this segment is in it, whatever its steps."""
        ...

    def share_delivered(self, peer: Peer, now: float) -> None:
        """Note that the last rows of the peer's share have arrived."""
        ...

    def is_full(self, steps: int, peers: Collection[Peer]) -> bool:
        """Whether collecting ends."""
        ...

    def another_round(self, steps: int, peers: Collection[Peer]) -> Sequence[tuple[Peer, int]]:
        """Return peers that are to go on though they have stopped by themselves, each with its new share in rows."""
        ...

    def excuse_late(self, peers: Collection[Peer], now: float) -> list[Action]:
        """Note in their quotas which peers are not waited for any more; return what to log."""
        ...

    def gone(self, peer: Peer, peers: Collection[Peer], now: float) -> None:
        """Note that a peer went before it had stopped. peers: that are left."""
        ...

    def lacks(self, peers: Collection[Peer]) -> str:
        """Return what the batch waits for besides these peers, for people; "" where it is nothing."""
        ...


@dataclass(frozen=True)
class Minimum(RuleDefaults):
    """At least so many steps, of whichever actors make them; STOP to all then, and what it cuts still counts."""

    batch_steps: int
    cuts_at_episode_end: bool = False  # the first episode that ends fills the batch, too

    def is_full(self, steps: int, peers: Collection[Peer]) -> bool:
        """Whether the steps are enough."""
        return steps >= self.batch_steps


def collection_rule(settings: Settings) -> CollectionRule:
    """Return the rule that the settings ask for."""
    if settings.learners > 1:
        return Together(settings.batch_steps if settings.late_learners else 0)
    match settings.rule:
        case "minimum":
            return Minimum(settings.batch_steps, settings.stop_at_episode_end)
        case "even_shares":
            return EvenShares(
                settings.batch_steps,
                grace_seconds=settings.stop_grace_seconds,
                cuts_at_episode_end=settings.stop_at_episode_end,
            )
        case "quorum":
            return Quorum(settings.batch_steps, grace_seconds=settings.stop_grace_seconds)
        case "quota":
            return ExactQuota(settings.batch_steps, settings.slots)
