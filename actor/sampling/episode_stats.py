"""Returns and lengths of episodes, added up from rows. Knows arrays; knows no environment and no policy."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dppo.protocol.rollout import MAX_TOLD_LATER, Segment


class Ended(NamedTuple):
    """Ended episodes, in the order in which they ended."""

    returns: np.ndarray  # float32; of rewards, or what the environment said
    lengths: np.ndarray  # int32
    columns: np.ndarray  # int32
    successes: np.ndarray  # float32, NaN where not reported
    metrics: np.ndarray  # [episodes, K] float32, NaN where not reported


NO_METRICS: Mapping[tuple[int, int], np.ndarray] = {}
NO_RETURNS: Mapping[tuple[int, int], float] = {}
MAX_UNTOLD = 2**16  # episodes of segments that were thrown away


class Episodes:
    """Return and length of the running episodes, carried from segment to segment.

    Worked out once a segment, for all its rows together: adding up in every step would cost as much as recording it.
    """

    def __init__(self, envs: int, metrics: int = 0) -> None:
        """metrics: numbers of the environment's own that each episode has."""
        self._returns = np.zeros(envs)  # [E] so far, undiscounted, float64
        self._lengths = np.zeros(envs, np.int64)  # [E] so far, in steps
        floats, whole = np.empty(0, np.float32), np.empty(0, np.int32)
        self._none = Ended(floats, whole, whole, floats, np.empty((0, metrics), np.float32))
        self._untold = self._none

    def tell_later(self, segment: Segment) -> None:
        """Say again with the next segments which episodes ended in this one; the oldest go first."""
        again = (segment.episode_returns, segment.episode_lengths, segment.episode_columns, segment.episode_successes)
        pairs = zip((*again, segment.episode_metrics), self._untold, strict=True)
        self._untold = Ended(*(np.concatenate(pair)[-MAX_UNTOLD:] for pair in pairs))

    def forget_column(self, column: int) -> None:
        """Forget that column's episode, which is never reported: its environment crashed."""
        self._returns[column], self._lengths[column] = 0.0, 0

    def ended_in(
        self,
        rewards: np.ndarray,
        ended: np.ndarray,
        valid: np.ndarray,
        successes: np.ndarray,
        crashed_cells: Sequence[tuple[int, int]] = (),
        metrics: Mapping[tuple[int, int], np.ndarray] = NO_METRICS,
        own_returns: Mapping[tuple[int, int], float] = NO_RETURNS,
    ) -> Ended:
        """Episodes that are still to be reported, some of them, then those that ended in these rows [T, E], by row.

        crashed_cells: (t, e) at which an episode ended because its environment crashed. It is no episode: not reported.
        metrics: [K] by cell (t, e) that ended an episode. own_returns: likewise returns that environments have said
        themselves, which count in the place of the sums of rewards.
        """
        T, E = ended.shape
        for cell in crashed_cells:
            ended[cell] = True
        if not np.count_nonzero(ended):  # most segments, where episodes are long
            self._returns += rewards.sum(axis=0, dtype=np.float64)
            self._lengths += np.count_nonzero(valid, axis=0)
            return self._told()
        ends = np.flatnonzero(ended.T)  # column by column, so that an episode is one piece
        column_starts = np.arange(E) * T
        starts = np.union1d(column_starts, ends + 1)
        starts = starts[starts < T * E]
        first = np.searchsorted(starts, column_starts)  # each column's first and last piece
        last = np.append(first[1:], len(starts)) - 1
        returns = np.add.reduceat(rewards.T.reshape(-1).astype(np.float64), starts)
        lengths = np.add.reduceat(valid.T.reshape(-1).astype(np.int64), starts)
        returns[first] += self._returns
        lengths[first] += self._lengths
        self._returns = np.where(ended[-1], 0.0, returns[last])
        self._lengths = np.where(ended[-1], 0, lengths[last])
        columns, rows = np.divmod(ends, T)
        order = np.lexsort((columns, rows))
        if crashed_cells:
            order = order[[(rows[end], columns[end]) not in crashed_cells for end in order]]
        pieces = np.searchsorted(starts, ends[order], side="right") - 1
        counted = returns[pieces]
        if own_returns:
            cells = zip(rows[order].tolist(), columns[order].tolist(), strict=True)
            counted = np.array([own_returns.get(cell, of) for cell, of in zip(cells, counted, strict=True)])
        told = self._told()
        return Ended(
            np.append(told.returns, counted.astype(np.float32)),
            np.append(told.lengths, lengths[pieces].astype(np.int32)),
            np.append(told.columns, columns[order].astype(np.int32)),
            np.append(told.successes, successes.T.reshape(-1)[ends[order]]),
            np.concatenate([told.metrics, self._metrics_at(rows[order], columns[order], metrics)]),
        )

    def _told(self) -> Ended:
        """Take those that are still to be reported, as many as a rollout may have, which has a largest size."""
        told, self._untold = self._untold, self._none
        most = MAX_TOLD_LATER
        if len(told.returns) > most:
            told, self._untold = Ended(*(array[:most] for array in told)), Ended(*(array[most:] for array in told))
        return told

    def _metrics_at(
        self, rows: np.ndarray, columns: np.ndarray, metrics: Mapping[tuple[int, int], np.ndarray]
    ) -> np.ndarray:
        """[episodes, K] of the episodes that ended in these cells."""
        found = np.full((len(rows), self._none.metrics.shape[1]), np.nan, np.float32)
        if metrics:
            for place, cell in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
                found[place] = metrics.get(cell, np.nan)
        return found
