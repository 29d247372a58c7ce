"""Steps of a batch and the episodes that ended in it, for the counters of a run. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from dppo.learner.ppo.batch import Received


class Gained(NamedTuple):
    """Steps, and the episodes of each segment: arguments of EpisodeWindow.add."""

    steps: int
    episodes: list[Any]

    @classmethod
    def of(cls, batch: Sequence[Received]) -> "Gained":
        """Return what this batch brings."""
        segments = [received.segment for received in batch]
        return cls(
            sum(segment.steps for segment in segments),
            [(s.episode_returns, s.episode_lengths, s.episode_successes, s.episode_metrics) for s in segments],
        )
