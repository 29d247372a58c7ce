"""Place of every step of a run at one moment, of one learner or of several. Pure."""

from dataclasses import dataclass
from typing import Any

from dppo.learner.ppo.batch import Received
from dppo.learner.storage.journal import Position
from dppo.protocol.joint_ledger import joint


@dataclass(frozen=True)
class Books:
    """Place of every step at one moment: a checkpoint's part of the session."""

    ledger: dict[str, Any]
    journal: Position  # entries behind it are not in the ledger
    newest_crash: str = ""  # of an environment, with its actor
    environments: int = 0  # that were stepped at once, at most
    in_hand: tuple[tuple[Received, ...], ...] = ()  # by batch, under collect.max_staleness
    others: tuple["Books", ...] = ()  # of learners of rank 1 and up, where there are several

    def of_all(self) -> "Books":
        """Return the books of all learners together: one ledger."""
        if not self.others:
            return self
        every = [self, *self.others]
        crash = next((books.newest_crash for books in every if books.newest_crash), "")
        ledger = joint([books.ledger for books in every])
        return Books(ledger, self.journal, crash, sum(books.environments for books in every))
