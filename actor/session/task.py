"""Task that the learner gives an actor: T, rows, and the answer to a part that cannot be used. Records only."""

import math
from dataclasses import dataclass

from dppo.protocol.messages import Extend, Policy

RETRY_SECONDS = 1.0  # from what cannot be used to the next HELLO, doubling
MAX_UNREADABLE = 2  # whole policies in a row
MAX_DAMAGED = 5  # policies and other messages in a row


@dataclass
class Task:
    """Under the policy held."""

    segment_steps: int = 1
    cut_at_episode_end: bool = False
    rows: int = 0  # allowed in all, 0: until STOP
    rows_left: float = math.inf

    def begin(self, policy: Policy) -> None:
        """A new policy is to be loaded."""
        self.segment_steps, self.cut_at_episode_end = policy.segment_steps, policy.cut_at_episode_end
        self.rows, self.rows_left = policy.rows, policy.rows or math.inf

    def extend(self, extend: Extend) -> None:
        """Allow more rows under the policy held. Counts their sum: a repeated message changes nothing."""
        if extend.rows > self.rows:
            self.rows_left += extend.rows - self.rows
            self.rows = extend.rows


@dataclass
class Failures:
    """Policies and messages in a row that could not be used."""

    count: int = 0

    def next_seconds(self, most: int) -> float | None:
        """Count one more. Return when to ask again, None where it was one too many."""
        self.count += 1
        return RETRY_SECONDS * 2 ** (self.count - 1) if self.count < most else None
