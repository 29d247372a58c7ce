"""The collection rule of one learner of several: its batch is full when the group says so. Pure."""

from collections.abc import Collection

from dppo.learner.session.records import Peer
from dppo.learner.session.rule_defaults import RuleDefaults


class Together(RuleDefaults):
    """Steps of whichever actors make them, until all learners have their batch together; what STOP cuts counts too."""

    def __init__(self, share: int = 0) -> None:
        """share: steps after which this learner stops before the others; 0: it goes on until all have their batch."""
        self._share = share
        self._is_called = False

    def begin(self, now: float) -> None:
        """Begin to collect, under a new policy."""
        self._is_called = False

    def call(self) -> None:
        """End collecting: the batch of all is full."""
        self._is_called = True

    def is_full(self, steps: int, peers: Collection[Peer]) -> bool:
        """Whether collecting was ended, or the share is there."""
        return self._is_called or 0 < self._share <= steps
