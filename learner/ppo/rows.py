"""Steps to train on: observations as they came, and a row of them for each step. Knows tensors; knows no networks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dppo.learner.models.memory import AnyMemory
from dppo.learner.ppo.frame_tensors import Frames
from dppo.learner.ppo.sequences import Pack, Sequences

PART_ROWS = 4096  # that are encoded at a time where features are not kept
PART_NUMBERS = 2**23  # or as many as hold no more numbers: an image takes layers of as many again

Leaves = Mapping[str, Tensor | Frames]  # by leaf name
Encode = Callable[[Mapping[str, Tensor]], Tensor]  # observation leaves [n, ...] to features [n, f]


class Rows(NamedTuple):
    """A batch, a shuffled epoch or a minibatch of n rows."""

    observations: Leaves  # [R, ...] each, in the dtypes of the spec: of the whole batch, shared by all parts of it
    row_index: Tensor  # [n] int64: rows of the leaves
    features: Tensor | None  # [n, f], encoded once a batch; None: encoded whenever they are needed
    actions: Tensor  # [n, a] float32, or [n] int64
    old_log_probs: Tensor  # [n]
    advantages: Tensor  # [n], normalised
    limits: Tensor  # [n], losses.surrogate_limits of the advantages; infinite where nothing is clipped
    targets: Tensor  # [n], normalised returns
    old: Tensor  # [n, k] the old distribution's rows(); [n, 0] under a clip
    legal: Tensor | None = None  # [n, k, m] or [n, k] bool, as of MaskLayout; None: all choices are
    floors: Tensor | None = None  # [n], losses.surrogate_floors of the advantages; None: no dual clip
    old_values: Tensor | None = None  # [n], normalised as targets, of the critic before; None: not clipped to
    weights: Tensor | None = None  # [n], of the surrogate, for steps of older policies; None: 1
    sequences: Sequences | None = None  # that a memory runs over, one behind the other, in a batch
    packs: Sequence[Pack] | None = None  # the same in an epoch's order, a pack for each minibatch; None: without memory

    def encoded(self, encode: Encode) -> Tensor:
        """Features [n, f] of these rows: the kept ones, or those of their observations."""
        if self.features is not None:
            return self.features
        return encode({name: leaf.index_select(0, self.row_index) for name, leaf in self.observations.items()})

    def seen(self, encode: Encode, memory: AnyMemory | None) -> Tensor:
        """Features [n, f] of a minibatch's rows, the memory's where there is one."""
        features = self.encoded(encode)
        return features if memory is None else self.pack.remembered(memory, features)

    @property
    def pack(self) -> Pack:
        """A minibatch's, where there is a memory. Raises ValueError where rows are of other parts, or of none."""
        if self.packs is None:
            raise ValueError("the rows are in no order that a memory can run over: lay them out for an epoch first")
        (pack,) = self.packs
        return pack

    def in_parts(self, encode: Encode, memory: AnyMemory | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """(features, legal) of all rows, in order: kept and remembered ones at once, others of a part at a time."""
        if memory is not None and self.sequences is not None:
            kept = self.features
            if kept is None:
                kept = torch.cat(list(encoded_in_parts(self.observations, self.row_index, encode)))
            yield self.sequences.remembered(memory, kept), self.legal
            return
        if self.features is not None:
            yield self.features, self.legal
            return
        first = 0
        for features in encoded_in_parts(self.observations, self.row_index, encode):
            last = first + len(features)
            yield features, None if self.legal is None else self.legal[first:last]
            first = last

    def select(self, where: Tensor) -> "Rows":
        """The rows `where` [m] int64, in that order; of sequences: whole ones, in the order that they have."""
        those = None if self.sequences is None else self.sequences.containing(where.cpu().numpy())
        return self._taken(where)._replace(sequences=those)

    def _taken(self, where: Tensor) -> "Rows":
        kept = (None if tensor is None else tensor.index_select(0, where) for tensor in self[1:-2])
        return Rows._make((self.observations, *kept, None, None))

    def for_epoch(self, sizes: Sequence[int], rng: np.random.Generator | None) -> tuple["Rows", Sequence[int]]:
        """All rows in the order of an epoch, and sizes of its minibatches: of about `sizes` where sequences stay whole.

        rng: shuffles; None: the order stays.
        """
        device = self.targets.device
        if self.sequences is None:
            if rng is None:
                return self, sizes
            return self._taken(torch.from_numpy(rng.permutation(len(self.targets))).to(device)), sizes
        count = len(self.sequences.lengths)
        order = np.arange(count) if rng is None else rng.permutation(count)
        packed = [self.sequences.packed(part) for part in self.sequences.parts(len(sizes), order)]
        where = torch.from_numpy(np.concatenate([rows for rows, _ in packed])).to(device)
        return self._taken(where)._replace(packs=[pack for _, pack in packed]), [len(rows) for rows, _ in packed]

    def trainable(self, kept: np.ndarray) -> np.ndarray:
        """Return [n] bool: which of the rows that are kept, [n] bool, can be trained on: of sequences, whole ones."""
        return kept if self.sequences is None else self.sequences.whole(kept)

    def split(self, sizes: Sequence[int]) -> list["Rows"]:
        """Views of successive parts of so many rows."""
        if len(sizes) == 1:
            return [self]
        nothing = [None] * len(sizes)
        columns = [nothing if tensor is None else torch.split_with_sizes(tensor, sizes) for tensor in self[1:-2]]
        packs = nothing if self.packs is None else [[pack] for pack in self.packs]
        return [Rows._make((self.observations, *parts)) for parts in zip(*columns, nothing, packs, strict=True)]


def encoded_in_parts(observations: Leaves, row_index: Tensor, encode: Encode) -> Iterator[Tensor]:
    """Features of the rows `row_index` [n] of observation leaves, of PART_ROWS or fewer at a time."""
    leaves = observations.values()
    numbers = sum(leaf.numbers if isinstance(leaf, Frames) else leaf[:1].numel() for leaf in leaves)
    for part in torch.split(row_index, max(1, min(PART_ROWS, PART_NUMBERS // max(1, numbers)))):
        yield encode({name: leaf.index_select(0, part) for name, leaf in observations.items()})
