"""Even shares: peers that still owe rows for the batch, and rests that go to the others. Without I/O.

An actor is waited for as long as it delivers. One that delivers nothing for the grace, or for as long as the others
took for their whole shares, while they stand still, is excused: they make up for it. After two times they wait no more.
"""

import math
from collections.abc import Sequence

from dppo.learner.session.punctuality import Punctuality
from dppo.learner.session.records import Action, Note, Peer

USUAL_TIMES = 3.0  # so much longer than its last share may an actor take for the next
LONGEST_TIMES = 10.0  # the limit of one wait, for all that an actor delivers meanwhile


class EvenShares:
    """Record of the rows that actors still owe under the newest policy."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._punctuality = Punctuality(grace_seconds, grace_seconds)
        self._began_at = 0.0
        self._exhausted_at = 0.0  # the newest
        self._longest_seconds = 0.0  # that a share took under this policy

    def begin(self, now: float) -> None:
        """A new policy was published."""
        self._began_at = self._exhausted_at = now
        self._longest_seconds = 0.0

    def is_given_up(self, peer: Peer) -> bool:
        """Whether that actor's share is not waited for."""
        return self._punctuality.is_given_up(peer.actor)

    def exhausted(self, peer: Peer, now: float) -> None:
        """The peer has delivered its share."""
        seconds = now - max(self._began_at, peer.policy_sent_at)
        self._exhausted_at = now
        self._longest_seconds = max(self._longest_seconds, seconds)
        if not peer.quota.is_excused:
            self._punctuality.in_time(peer.actor, seconds)

    def owing(self, acting: Sequence[Peer]) -> list[Peer]:
        """Return the peers that the batch was divided among and that have not delivered their whole share."""
        return [peer for peer in acting if peer.quota.is_in_split and self._owes(peer)]

    def ready_for_more(self, acting: Sequence[Peer]) -> list[Peer]:
        """Return the peers for another round; none while any peer owes rows."""
        if any(self._owes(peer) for peer in acting):
            return []
        return [peer for peer in acting if peer.quota.is_exhausted]

    def give_up_late(self, acting: Sequence[Peer], now: float) -> list[Action]:
        """Excuse those for which the others have waited long enough."""
        if not any(peer.quota.is_exhausted for peer in acting):
            return []  # no actor stands still because of another
        actions: list[Action] = []
        for peer in [peer for peer in acting if self._owes(peer)]:
            record = self._punctuality.record(peer.actor)
            longest = max(self._grace_seconds, self._longest_seconds, USUAL_TIMES * record.seconds * record.is_kept)
            allowed = longest * self._punctuality.patience(peer.actor, now) / self._grace_seconds
            since = max(self._exhausted_at, peer.quota.delivered_at)
            waited = now - self._exhausted_at
            if now - since > allowed or waited > LONGEST_TIMES * longest:
                peer.quota.is_excused = True
                self._punctuality.wasted(waited * self._grace_seconds / longest, now)
                actions += self._excuse(peer, waited, now)
        return actions

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
            text += ". Nobody waits for it any more until it keeps up; collect.even_shares is for actors of like speed"
        return [Note(text)]
