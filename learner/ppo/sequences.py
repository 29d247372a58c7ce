"""Steps of a batch as sequences that a memory runs over. Knows memories; knows no grids and no losses.

A sequence is a run of steps of one column within one episode, at most `bptt_steps` of them. It begins with zeros, with
the state that came with the segment, or with the state that the policy of the batch had there: nothing is burnt in.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dppo.learner.models.memory import AnyMemory


class Pack(NamedTuple):
    """Rows in the order in which a memory runs over them: the first steps of m sequences, then the second ones ..."""

    sizes: list[int]  # how many have each step, the longest first
    starts: Tensor  # [m, size] states before the first steps, of the longest first

    def remembered(self, memory: AnyMemory, features: Tensor) -> Tensor:
        """Features [n, width] of a memory over features [n, f] of all rows."""
        return memory.over(features, self.starts, self.sizes)


class Sequences(NamedTuple):
    """Successive rows that belong together: lengths[0] of them, then lengths[1], and so on."""

    lengths: np.ndarray  # [m] int64, at least 1 each
    starts: Tensor  # [m, size] states before the first rows

    @property
    def firsts(self) -> np.ndarray:
        """First row of each, [m]."""
        firsts: np.ndarray = np.cumsum(self.lengths) - self.lengths
        return firsts

    def packed(self, which: np.ndarray) -> tuple[np.ndarray, Pack]:
        """The sequences `which` [k] as rows [n], in the order of a pack, and the pack."""
        longest_first = which[np.argsort(-self.lengths[which], kind="stable")]
        lengths = self.lengths[longest_first]
        has_step = lengths > np.arange(lengths[0])[:, None]  # [longest, k]
        times, sequences = np.nonzero(has_step)
        place = torch.from_numpy(longest_first).to(self.starts.device)
        rows: np.ndarray = self.firsts[longest_first][sequences] + times
        return rows, Pack(has_step.sum(axis=1).tolist(), self.starts.index_select(0, place))

    def remembered(self, memory: AnyMemory, features: Tensor) -> Tensor:
        """Features [n, width] of a memory over features [n, f] of all rows."""
        order, pack = self.packed(np.arange(len(self.lengths)))
        rows = torch.from_numpy(order).to(features.device)
        made = pack.remembered(memory, features.index_select(0, rows))
        return made.new_empty(made.shape).index_copy_(0, rows, made)

    def whole(self, kept: np.ndarray) -> np.ndarray:
        """Return [n] bool: which rows are of sequences that are kept whole. kept: [n] bool."""
        return np.repeat(np.minimum.reduceat(kept, self.firsts), self.lengths)

    def containing(self, rows: np.ndarray) -> "Sequences":
        """The sequences of these rows, which rise, and of which each has all or none."""
        which = np.flatnonzero(np.isin(self.firsts, rows))
        place = torch.from_numpy(which).to(self.starts.device)
        return Sequences(self.lengths[which], self.starts.index_select(0, place))

    def parts(self, count: int, order: np.ndarray) -> list[np.ndarray]:
        """The sequences `order` [m] in so many parts, or as many as there are sequences, of as many rows as can be."""
        ends, most = np.cumsum(self.lengths[order]), len(order)
        count = min(count, most)
        cuts = [0]
        for part in range(1, count):
            nearest = 1 + int(np.abs(ends - ends[-1] * part / count).argmin())
            cuts.append(min(max(nearest, cuts[-1] + 1), most - (count - part)))
        return np.split(order, cuts[1:])
