"""Stacked frames of images in a batch: each frame is there once, and rows say which ones a policy saw together.

Knows arrays; knows no networks. A column's frames are those that came with its segment, then its observations in time;
an episode begins with its first frame repeated, as in the graph that acted.
"""

import numpy as np

from dppo.protocol.recurrent_state import STATE, stacked_name
from dppo.protocol.rollout import Segment


def frames_before(segment: Segment) -> dict[str, np.ndarray]:
    """Frames [E, k - 1, *shape] before a segment's first row, by the names of the leaves that are stacked."""
    return {stacked_name(name): array for name, array in segment.states.items() if name != STATE}


def ended(segment: Segment) -> np.ndarray:
    """Whether a row ended an episode or was none, [T, E], so that the next one begins an episode."""
    is_over: np.ndarray = segment.terminated | segment.truncated | ~segment.valid
    return is_over


def frame_rows(over: np.ndarray, truncated: np.ndarray, observed: np.ndarray, before: int) -> np.ndarray:
    """Rows [R, k] of frames that each row of observations is made of, the newest last.

    over [T, N]: as of `ended`. observed [T + 1, N]: which cells the rows of columns are, which come first; behind them
    final observations, one for each cell of truncated [T, N], row-major; behind those `before` = k - 1 frames of every
    column.
    """
    count, finals = int(observed.sum()), int(truncated.sum())
    lengths = observed.sum(axis=0)
    firsts = np.cumsum(lengths) - lengths
    times = newest_frames(over, before)  # [T + 1, N, k]
    columns = np.arange(observed.shape[1])[:, None]
    rows = np.where(times < 0, count + finals + before * (columns + 1) + times, firsts[:, None] + times)
    last = rows[:-1][truncated][:, 1:]
    of_finals = np.concatenate([last, count + np.arange(finals)[:, None]], axis=1)
    return np.concatenate([rows.swapaxes(0, 1)[observed.T], of_finals])


def newest_frames(over: np.ndarray, before: int) -> np.ndarray:
    """Times [T + 1, N, before + 1] of the newest frames at each row, the newest last; -1 is that before the first row.

    over [T, N]: rows after which an episode begins.
    """
    T = len(over)
    begins = np.full((T + 1, over.shape[1]), -before)
    begins[1:][over] = np.nonzero(over)[0] + 1
    first = np.maximum.accumulate(begins, axis=0)
    lags = np.arange(before, -1, -1)
    times: np.ndarray = np.maximum(np.arange(T + 1)[:, None, None] - lags, first[..., None])
    return times


def goes_on(earlier: Segment, later: Segment) -> bool:
    """Whether the frames that `later` begins with are those that `earlier` ends with."""
    for name, given in frames_before(later).items():
        past, seen = frames_before(earlier)[name], earlier.observations[name]
        times = newest_frames(ended(earlier), given.shape[1])[-1, :, :-1]
        expected = [[seen[t, e] if t >= 0 else past[e, t] for t in row] for e, row in enumerate(times.tolist())]
        if not np.array_equal(given, expected):
            return False
    return True
