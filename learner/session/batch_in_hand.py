"""The batch that is being collected, and how large it is. Part of the session, without I/O."""

from collections import Counter
from dataclasses import replace

from dppo.learner.ppo.batch import Received
from dppo.learner.session.records import Action, Note
from dppo.protocol.ledger import Ledger


class BatchInHand:
    """Rollouts that were accepted for the next update."""

    def __init__(self, number: int = 1) -> None:
        self.number = number  # in the ledger, within this learner's life
        self.rollouts: list[Received] = []  # in the order in which they came; another list in every batch
        self.steps = 0
        self.bytes = 0
        self.is_complete = False  # by the rule, whatever the steps
        self._bytes: Counter[bytes] = Counter()  # by incarnation

    def add(self, received: Received, size: int) -> None:
        """Take in a rollout of that many bytes."""
        self.rollouts.append(received)
        self.steps += received.segment.steps
        self.bytes += size
        self._bytes[received.incarnation] += size

    def renumber(self, by: int) -> None:
        """Count the versions of what is in it from another one on."""
        self.rollouts = [replace(received, version=received.version + by) for received in self.rollouts]

    def withdraw(self, incarnation: bytes) -> list[Received]:
        """Take out all of that incarnation, and return it."""
        gone = [received for received in self.rollouts if received.incarnation == incarnation]
        if gone:
            self.rollouts = [received for received in self.rollouts if received.incarnation != incarnation]
            self.steps -= sum(received.segment.steps for received in gone)
            self.bytes -= self._bytes.pop(incarnation)
        return gone

    def begin_next(self) -> None:
        """The batch is done with: the next one begins."""
        self.number += 1
        self.rollouts, self.steps, self.bytes, self.is_complete = [], 0, 0, False
        self._bytes.clear()


def withdrawn(batch: BatchInHand, ledger: Ledger, incarnation: bytes, why: str) -> list[Action]:
    """Take what the incarnation has delivered out of the batch, and book it."""
    gone = batch.withdraw(incarnation)
    if not gone:
        return []
    steps = sum(received.segment.steps for received in gone)
    ledger.withdraw(incarnation, steps, batch=batch.number)
    return [Note(f"{steps} steps of {gone[0].actor} under version {gone[0].version} do not count: {why}")]
