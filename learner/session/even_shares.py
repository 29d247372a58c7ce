"""Even shares, a collection rule: peers that still owe rows for the batch, and rests that go to the others. Pure.

An actor is waited for as long as it delivers. One that delivers nothing for the grace, or for as long as the others
took for their whole shares, while they stand still, is excused: they make up for it. After two times they wait no more.
"""

import math
from collections.abc import Collection, Sequence

from dppo.learner.session.punctuality import Punctuality
from dppo.learner.session.records import Action, Note, Peer
from dppo.learner.session.rule_defaults import RuleDefaults

USUAL_TIMES = 3.0  # so much longer than its last share may an actor take for the next
LONGEST_TIMES = 10.0  # the limit of one wait, for all that an actor delivers meanwhile


class EvenShares(RuleDefaults):
    """The same number of rows of every environment: actors stop by themselves once they have delivered them.

    Keeps which actors deliver in time, and for how long shares took under the newest policy.
    """

    accepts_resets_alone = True  # they are rows of the share

    def __init__(self, batch_steps: int, *, grace_seconds: float, cuts_at_episode_end: bool = False) -> None:
        """cuts_at_episode_end: the first episode that ends fills the batch, too."""
        self.cuts_at_episode_end = cuts_at_episode_end
        self._batch_steps = batch_steps
        self._grace_seconds = grace_seconds
        self._punctuality = Punctuality(grace_seconds, grace_seconds)
        self._began_at = 0.0
        self._exhausted_at = 0.0  # the newest
        self._longest_seconds = 0.0  # that a share took under this policy

    def begin(self, now: float) -> None:
        """All shares are owed again."""
        self._began_at = self._exhausted_at = now
        self._longest_seconds = 0.0

    def share(self, rows: int) -> int:
        """Return those rows: each actor stops after them."""
        return rows

    def is_given_up(self, peer: Peer) -> bool:
        """Whether that actor was late too often for its share to be waited for."""
        return self._punctuality.is_given_up(peer.actor)

    def share_delivered(self, peer: Peer, now: float) -> None:
        """Record how long the share took."""
        seconds = now - max(self._began_at, peer.policy_sent_at)
        self._exhausted_at = now
        self._longest_seconds = max(self._longest_seconds, seconds)
        if not peer.quota.is_excused:
            self._punctuality.in_time(peer.actor, seconds)

    def is_full(self, steps: int, peers: Collection[Peer]) -> bool:
        """Whether the steps are enough and no peer that the batch was divided among owes any."""
        if steps < self._batch_steps:
            return False
        return not any(peer.quota.is_in_split and self._owes(peer) for peer in _acting(peers))

    def another_round(self, steps: int, peers: Collection[Peer]) -> Sequence[tuple[Peer, int]]:
        """Divide what is missing once all shares are in: rows were resets, or actors left, or did not deliver."""
        acting = _acting(peers)
        if steps >= self._batch_steps or any(self._owes(peer) for peer in acting):
            return ()
        ready = [peer for peer in acting if peer.quota.is_exhausted]
        envs = sum(peer.slots.envs for peer in ready)
        return [(peer, peer.quota.rows + math.ceil((self._batch_steps - steps) / envs)) for peer in ready]

    def excuse_late(self, peers: Collection[Peer], now: float) -> list[Action]:
        """Excuse those for which the others have waited long enough."""
        acting = _acting(peers)
        if not any(peer.quota.is_exhausted for peer in acting):
            return []  # no actor stands still because of another
        actions: list[Action] = []
        for peer in [peer for peer in acting if self._owes(peer)]:
            record = self._punctuality.record(peer.actor)
            longest = max(self._grace_seconds, self._longest_seconds, USUAL_TIMES * record.seconds * record.is_kept)
            allowed = longest * self._punctuality.allowed_seconds(peer.actor, now) / self._grace_seconds
            since = max(self._exhausted_at, peer.quota.delivered_at)
            waited = now - self._exhausted_at
            if now - since > allowed or waited > LONGEST_TIMES * longest:
                peer.quota.is_excused = True
                self._punctuality.wasted(waited * self._grace_seconds / longest, now)
                actions += self._excuse(peer, waited, now)
        return actions

    def gone(self, peer: Peer, peers: Collection[Peer], now: float) -> None:
        """Record a wait in vain, where others stand still for what the peer owed."""
        if self._owes(peer) and any(other.quota.is_exhausted for other in _acting(peers)):
            longest, waited = max(self._grace_seconds, self._longest_seconds), now - self._exhausted_at
            self._punctuality.wasted(waited * self._grace_seconds / longest, now)
            self._punctuality.gone(peer.actor, waited)

    def _owes(self, peer: Peer) -> bool:
        quota = peer.quota
        return not (quota.is_exhausted or quota.is_excused or self._punctuality.is_given_up(peer.actor))

    def _excuse(self, peer: Peer, waited: float, now: float) -> list[Action]:
        record = self._punctuality.late(peer.actor)
        doing = f", {peer.doing}" if peer.doing else ""
        text = (
            f"{peer.actor} has delivered {peer.quota.rows} of its {peer.quota.share} rows, {math.ceil(waited)} s after "
            f"the others (last heard {now - peer.heard:.1f} s ago{doing}): they make up for it"
        )
        if record.is_given_up:
            text += ". It is not waited for until it keeps up; even_shares is for actors of like speed"
        return [Note(text)]


def _acting(peers: Collection[Peer]) -> list[Peer]:
    return [peer for peer in peers if not peer.stopped]
