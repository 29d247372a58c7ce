"""Answers that most collection rules give, for the questions that are not theirs. Pure."""

from collections.abc import Collection, Sequence

from dppo.learner.session.records import Action, Peer, Quota
from dppo.protocol.rollout import Segment


class RuleDefaults:
    """A rule without shares that waits for no actor: each rule answers anew what it decides otherwise."""

    cuts_at_episode_end: bool = False
    accepts_resets_alone: bool = False

    def most_bytes(self, most: int) -> int:
        """Return the bytes that may wait: a batch may have fewer steps than were asked for."""
        return most

    def begin(self, now: float) -> None:
        """Keep nothing from one policy to the next."""

    def share(self, rows: int) -> int:
        """Return 0: all act until STOP."""
        return 0

    def is_given_up(self, peer: Peer) -> bool:
        """Return False: none is."""
        return False

    def has_work_for(self, peer: Peer) -> bool:
        """Return True: every actor that joins takes part."""
        return True

    def take_over(self, peer: Peer) -> Sequence[bytes]:
        """Return none: what an actor delivered before it was replaced counts."""
        return ()

    def spoilt(self, peer: Peer) -> int:
        """Return 0: other steps make up for rows that cannot be used."""
        return 0

    def accepts(self, quota: Quota, seq: int, rows: int) -> bool:
        """Whether it was under way when STOP was sent, or is what STOP cut."""
        return quota.covers(seq)

    def is_full_with(self, segment: Segment) -> bool:
        """Whether an episode ended in it, where that ends collecting."""
        return self.cuts_at_episode_end and segment.ends_episode

    def share_delivered(self, peer: Peer, now: float) -> None:
        """Note nothing."""

    def another_round(self, steps: int, peers: Collection[Peer]) -> Sequence[tuple[Peer, int]]:
        """Return none."""
        return ()

    def excuse_late(self, peers: Collection[Peer], now: float) -> list[Action]:
        """Return none: none is excused."""
        return []

    def gone(self, peer: Peer, peers: Collection[Peer], now: float) -> None:
        """Note nothing: others make up for it."""

    def lacks(self, peers: Collection[Peer]) -> str:
        """Return "": any actor will do."""
        return ""
