"""Quorum, a collection rule: stop once most environments have made their share, and all a part of it. Pure.

An actor is stopped early where 60 % of the environments have delivered T rows and every other one at least 25 % of T;
what it has of its share counts (DD-PPO, Wijmans et al. 2020, arXiv 1911.00357, and its code in habitat-baselines). None
delivers more than T, so that the weight min(1, T / n) of VER (arXiv 2210.05064) is 1 for every step.
"""

import math
from collections.abc import Collection, Sequence

from dppo.learner.session.even_shares import EvenShares
from dppo.learner.session.records import Action, Peer
from dppo.learner.session.rule_defaults import RuleDefaults

QUORUM = 0.6  # of the environments, with their whole share in
LEAST_PART = 0.25  # of its share, that every other one delivers


class Quorum(RuleDefaults):
    """Shares as with even shares, of which the slowest actors need not make more than a part."""

    accepts_resets_alone = True  # they are rows of the share

    def __init__(self, batch_steps: int, *, grace_seconds: float) -> None:
        self._batch_steps = batch_steps
        self._lateness = EvenShares(batch_steps, grace_seconds=grace_seconds)

    def begin(self, now: float) -> None:
        """All shares are owed again."""
        self._lateness.begin(now)

    def share(self, rows: int) -> int:
        """Return T, the rows of an even division: a fast actor stops by itself after them."""
        return rows

    def is_given_up(self, peer: Peer) -> bool:
        """Whether that actor delivered not even its part too often to be waited for."""
        return self._lateness.is_given_up(peer)

    def share_delivered(self, peer: Peer, now: float) -> None:
        """Record how long the share took."""
        self._lateness.share_delivered(peer, now)

    def is_full(self, steps: int, peers: Collection[Peer]) -> bool:
        """Whether most environments have their share in and the others their part.

        Those that came later count where all are gone among which the batch was divided; where none is waited for,
        those that stand still.
        """
        awaited = [peer for peer in _acting(peers) if not self._is_out(peer)]
        standing = [peer for peer in _acting(peers) if peer.quota.is_exhausted]
        counted = [peer for peer in awaited if peer.quota.is_in_split] or awaited or standing
        if not steps or not counted or any(is_behind(peer) for peer in counted):
            return False
        finished = sum(peer.slots.envs for peer in counted if peer.quota.is_exhausted)
        return finished >= QUORUM * sum(peer.slots.envs for peer in counted)

    def another_round(self, steps: int, peers: Collection[Peer]) -> Sequence[tuple[Peer, int]]:
        """Return all for another share where none of their rows was a step; else none: fewer steps are trained on."""
        standing = [peer for peer in _acting(peers) if peer.quota.is_exhausted]
        if steps or any(not self._is_out(peer) for peer in _acting(peers) if not peer.quota.is_exhausted):
            return ()
        rows = math.ceil(self._batch_steps / max(1, sum(peer.slots.envs for peer in standing)))
        return [(peer, peer.quota.rows + rows) for peer in standing]

    def excuse_late(self, peers: Collection[Peer], now: float) -> list[Action]:
        """Excuse those that do not even deliver their part."""
        return self._lateness.excuse_late([p for p in peers if p.quota.is_exhausted or is_behind(p)], now)

    def gone(self, peer: Peer, peers: Collection[Peer], now: float) -> None:
        """Record a wait in vain, where others stand still for the part that the peer owed."""
        if is_behind(peer):
            self._lateness.gone(peer, peers, now)

    def _is_out(self, peer: Peer) -> bool:
        return peer.quota.is_excused or self.is_given_up(peer)


def _acting(peers: Collection[Peer]) -> list[Peer]:
    return [peer for peer in peers if not peer.stopped]


def is_behind(peer: Peer) -> bool:
    """Whether the peer has not delivered the part of its share that every one must."""
    return peer.quota.rows < LEAST_PART * peer.quota.share
