"""Divide a batch: each actor's share of rows, and T of its rollouts. Part of the session, without I/O.

Shares follow what actors deliver. Announcing environments, or staying connected, gives no actor a say in the others'
segments for longer than the first PROMISED_POLICIES.
"""

import math
from collections.abc import Collection

from dppo.learner.session.collection_rule import CollectionRule
from dppo.learner.session.flow_control import most_segment_steps, segment_steps_of
from dppo.learner.session.peer_table import PeerTable
from dppo.learner.session.records import Peer, Quota, Settings

PROMISED_POLICIES = 2  # that an actor may have been sent without delivering, before it counts no more
MOST_OLD_QUOTAS = 1024  # under one policy, of processes that are gone


class Shares:
    """Share of the batch that each actor is asked for."""

    def __init__(self, settings: Settings, peer_table: PeerTable, rule: CollectionRule) -> None:
        self._rule = rule
        self._settings = settings
        self._peer_table = peer_table
        self._most: dict[int, int] = {}  # largest T by environments of an actor

    def rows(self, steps: int) -> int:
        """Rows of every environment of those that take part which make so many steps together."""
        envs = sum(self.columns(peer) for peer in self._peer_table.peers.values()) or self._settings.envs_per_actor
        return math.ceil(steps / envs)

    def columns(self, peer: Peer) -> int:
        """Environments of a peer that count: 0 where it takes no part."""
        if not peer.ready or peer.is_slow or peer.idle_policies > PROMISED_POLICIES or self._rule.is_given_up(peer):
            return 0
        envs = peer.slots.envs
        if not peer.steps:
            return min(envs, self._settings.envs_per_actor)
        return envs if 2 * peer.columns >= envs else peer.columns

    def quota(self, peer: Peer, divided: int, now: float) -> Quota:
        """Return a new quota for that peer. divided: rows of the batch's even division; 0: the peer comes later."""
        rows = divided or self.rows(self._settings.batch_steps)
        share = self._rule.share(rows)
        T = self.segment_steps(share or rows, peer.slots.envs)
        return Quota(
            segment_steps=T,
            longest=T,
            share=share,
            is_in_split=bool(divided) and self.columns(peer) > 0,
            delivered_at=now,
        )

    def segment_steps(self, share: int, envs: int) -> int:
        """T of the rollouts of an actor with so many environments."""
        return min(segment_steps_of(share, self._settings.segment_steps), self.most_segment_steps(envs))

    def most_segment_steps(self, envs: int) -> int:
        """The largest T of such an actor whose rollouts always fit into a message."""
        spec = self._peer_table.rollout_spec
        assert spec is not None, "a policy is for spaces that are known"
        most = self._most.get(envs)
        if most is None:
            limit = self._settings.max_rollout_bytes
            most = self._most[envs] = max(1, most_segment_steps(spec, envs=envs, max_rollout_bytes=limit))
            if len(self._most) > 1024:
                self._most = {}
        return most

    def forget(self) -> None:
        """Sizes follow from other spaces now."""
        self._most = {}


def known_quotas(quotas: dict[bytes, Quota], accounts: Collection[bytes]) -> dict[bytes, Quota]:
    """Return the quotas by incarnation, once they are many only those of processes that have an account."""
    if len(quotas) < MOST_OLD_QUOTAS + 2 * len(accounts):
        return quotas
    return {incarnation: quota for incarnation, quota in quotas.items() if incarnation in accounts}
