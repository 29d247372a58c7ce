"""Exact quota, a collection rule: every slot makes exactly T rows under a version, whichever actor holds it. Pure.

A share is made in one life of its slots. Where others go on with them before it is finished, what there is of it is
dropped, and the next life makes the whole share: so a batch follows from the lives of its slots alone, and not from the
moment at which one ended.
"""

import math
import sys
from collections.abc import Collection, Sequence

from dppo.learner.session.records import Peer, Quota
from dppo.learner.session.rule_defaults import RuleDefaults
from dppo.learner.session.slots import Slots


class ExactQuota(RuleDefaults):
    """The same rows of each of a fixed number of slots. Waits for all of them, for as long as it takes."""

    accepts_resets_alone = True  # they are rows of the share

    def __init__(self, batch_steps: int, slots: int) -> None:
        if slots < 1:
            raise ValueError(f"{slots} slots: a batch of shares needs at least 1")
        self._slots = slots
        self._rows = math.ceil(batch_steps / slots)  # T
        self._begun: dict[bytes, Slots] = {}  # by incarnation, under the newest policy
        self._finished: dict[bytes, Slots] = {}  # of these

    def most_bytes(self, most: int) -> int:
        """Return more than any batch has: it is as large as its shares, which are bounded, and never cut short."""
        return sys.maxsize

    def begin(self, now: float) -> None:
        """All shares are owed again."""
        self._begun, self._finished = {}, {}

    def share(self, rows: int) -> int:
        """Return T, whatever actors there are."""
        return self._rows

    def has_work_for(self, peer: Peer) -> bool:
        """Whether no actor has made the share of its slots yet."""
        mine = peer.slots
        return not any(mine.overlap(slots) for key, slots in self._finished.items() if key != peer.incarnation)

    def take_over(self, peer: Peer) -> list[bytes]:
        """Note that the peer begins its share. Return incarnations whose share of these slots will not be finished."""
        gone = [key for key, slots in self._begun.items() if key != peer.incarnation and peer.slots.overlap(slots)]
        for incarnation in gone:
            del self._begun[incarnation]
        self._begun[peer.incarnation] = peer.slots
        return gone

    def spoilt(self, peer: Peer) -> int:
        """Note that rows of the peer cannot be used. Return after how many it has made a whole share behind them."""
        self._finished.pop(peer.incarnation, None)
        return peer.quota.rows + self._rows

    def accepts(self, quota: Quota, seq: int, rows: int) -> bool:
        """Whether it is part of the share, which no rollout of an actor of ours exceeds."""
        return quota.rows + rows <= quota.share

    def share_delivered(self, peer: Peer, now: float) -> None:
        """Note that the share is in."""
        self._finished[peer.incarnation] = peer.slots

    def is_full(self, steps: int, peers: Collection[Peer]) -> bool:
        """Whether the shares of all slots are in."""
        return sum(slots.envs for slots in self._finished.values()) == self._slots

    def lacks(self, peers: Collection[Peer]) -> str:
        """Return the slots that no actor has and whose share is not in, for people; "" where there are none."""
        covered = [*self._finished.values(), *(peer.slots for peer in peers)]
        missing = [slot for slot in range(self._slots) if not any(held.first <= slot < held.end for held in covered)]
        if not missing:
            return ""
        return f"an actor for environments {_ranges(missing)} of {self._slots} (collect.slots), which none has"


def _ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers as text: 0-3, 6."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in zip(starts, ends, strict=True))
