"""Returns and lengths of episodes that the actor adds up, segment by segment."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dppo.actor.sampling.episode_stats import Episodes


@given(st.data())
def test_episodes_are_the_same_however_their_rows_are_cut_into_segments(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    T, E = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4))
    ended = rng.random((T, E)) < data.draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    valid = rng.random((T, E)) < 0.9
    rewards = np.where(valid, rng.integers(-100, 100, (T, E)), 0).astype(np.float32)  # whole: any order adds up alike
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, T), max_size=6))), T]
    episodes, got = Episodes(E), []
    for start, stop in pairwise(cuts):
        if start < stop:
            rows = slice(start, stop)
            found = episodes.ended_in(rewards[rows], ended[rows].copy(), valid[rows], np.full((T, E), np.nan)[rows])
            got += zip(found.returns.tolist(), found.lengths.tolist(), found.columns.tolist(), strict=True)
    returns, lengths, wanted = [0.0] * E, [0] * E, []
    for t in range(T):
        for column in range(E):
            returns[column] += float(rewards[t, column])
            lengths[column] += int(valid[t, column])
            if ended[t, column]:
                wanted.append((returns[column], lengths[column], column))
                returns[column], lengths[column] = 0.0, 0
    assert got == wanted
