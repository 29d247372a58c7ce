"""The newest training episodes and their mean. Knows numbers only; knows no environment, no actor and no file."""

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

OUTLIER_SHARE = 20  # one in so many episodes, at least one, may be an outlier
OUTLIER_FACTOR = 20.0  # further from the median than this many times the furthest of the others
FLAT_FACTOR = 1000.0  # times the median itself, where all others have the same return


class Episode(NamedTuple):
    """Figures kept of an episode."""

    episode_return: float  # undiscounted
    length: int  # steps
    success: float | None = None  # 1 or 0; None where the environment does not say
    metrics: Sequence[float | None] = ()  # the environment's own, None where it does not say


class EpisodeWindow:
    """Returns, lengths and successes of the last `size` episodes, and how many there were in all.

    An episode whose return is not finite (a simulator that blew up) is counted in `diverged`, and kept out of the
    mean, which it would make useless for the next `size` episodes. So are returns that at most one episode in 20
    has and that are absurdly far from all others (one reward of 1e6): `outliers` of the window. What so few episodes
    bring about is no measure of the policy, and does not solve a task.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size={size}: a window holds at least 1 episode. Choose for example 100.")
        self.total = 0  # episodes ever added, diverged ones included
        self.diverged = 0
        self._episodes: deque[Episode] = deque(maxlen=size)  # oldest first
        self._usual: list[float] | None = None  # their returns without outliers, once asked for

    def add(
        self,
        returns: Iterable[float],
        lengths: Iterable[int],
        successes: Iterable[float],
        metrics: "np.ndarray | None" = None,
    ) -> None:
        """Episodes in the order in which they ended: undiscounted returns, lengths in steps, successes (1, 0 or NaN
        where not reported), one each; metrics [episodes, K] with NaN where not reported.
        """
        # a list first: a mismatch must leave the window as it was
        added = [
            Episode(float(episode_return), int(length), _reported(success))
            for episode_return, length, success in zip(returns, lengths, successes, strict=True)
        ]
        if metrics is not None and metrics.size:
            pairs = zip(added, metrics.tolist(), strict=True)
            added = [episode._replace(metrics=[_reported(number) for number in row]) for episode, row in pairs]
        finite = [episode for episode in added if math.isfinite(episode.episode_return)]
        self._episodes.extend(finite)
        self._usual = None
        self.total += len(added)
        self.diverged += len(added) - len(finite)

    @property
    def is_full(self) -> bool:
        """Whether the means are over `size` episodes: before, they say little about the policy."""
        return len(self._episodes) == self._episodes.maxlen

    @property
    def mean_return(self) -> float | None:
        """Mean return of the episodes in the window without its outliers, however few; None while there is none."""
        return self._mean(self._usual_returns())

    @property
    def median_return(self) -> float | None:
        """Median return of all episodes in the window; None while there is none."""
        return statistics.median(self._returns()) if self._episodes else None

    @property
    def outliers(self) -> int:
        """Episodes in the window that `mean_return` leaves out."""
        return len(self._episodes) - len(self._usual_returns())

    def _returns(self) -> list[float]:
        return [episode.episode_return for episode in self._episodes]

    def _usual_returns(self) -> list[float]:
        if self._usual is None:
            self._usual = self._without_outliers()
        return self._usual

    def _without_outliers(self) -> list[float]:
        returns = self._returns()
        rank = max(1, len(returns) // OUTLIER_SHARE)  # so many may be outliers
        if len(returns) <= rank:
            return returns
        median = statistics.median(returns)
        usual = sorted(abs(episode_return - median) for episode_return in returns)[-1 - rank]
        limit = OUTLIER_FACTOR * usual or FLAT_FACTOR * max(1.0, abs(median))
        return [episode_return for episode_return in returns if abs(episode_return - median) <= limit]

    @property
    def mean_length(self) -> float | None:
        """In steps, of the episodes in the window; None while there is none."""
        return self._mean([episode.length for episode in self._episodes])

    @property
    def success_rate(self) -> float | None:
        """0..1, of the episodes in the window that report it; None while none does."""
        return self._mean([episode.success for episode in self._episodes if episode.success is not None])

    def mean_metrics(self, names: Sequence[str]) -> dict[str, float]:
        """Means of the environment's own numbers in the window, over the episodes that report them; none for others."""
        found = {}
        for place, name in enumerate(names):
            of_episodes = (episode.metrics[place] for episode in self._episodes if place < len(episode.metrics))
            mean = self._mean([number for number in of_episodes if number is not None])
            if mean is not None:
                found[name] = mean
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for a checkpoint."""
        return {
            "total": self.total,
            "diverged": self.diverged,
            "episodes": [_kept(episode) for episode in self._episodes],
        }

    @classmethod
    def from_dict(cls, size: int, saved: Mapping[str, Any]) -> "EpisodeWindow":
        """The window that `to_dict` described; of a larger one, the newest `size` episodes."""
        window = cls(size)
        window._episodes.extend(Episode(*episode) for episode in saved["episodes"])
        window.total = int(saved["total"])
        window.diverged = int(saved["diverged"])
        return window

    @staticmethod
    def _mean(values: list[float] | list[int]) -> float | None:
        return math.fsum(values) / len(values) if values else None


def _reported(number: float) -> float | None:
    return None if math.isnan(number) else float(number)


def _kept(episode: Episode) -> list[Any]:
    return list(episode) if episode.metrics else list(episode[:-1])
