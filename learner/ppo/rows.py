"""Steps to train on: observations as they came, and a row of them for each step. Knows tensors; knows no networks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

PART_ROWS = 4096  # that are encoded at a time where features are not kept
PART_NUMBERS = 2**23  # or as many as hold no more numbers: an image takes layers of as many again

Leaves = Mapping[str, Tensor]  # by leaf name
Encode = Callable[[Leaves], Tensor]  # observation leaves [n, ...] to features [n, f]


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

    def encoded(self, encode: Encode) -> Tensor:
        """Features [n, f] of these rows: the kept ones, or those of their observations."""
        if self.features is not None:
            return self.features
        return encode({name: leaf.index_select(0, self.row_index) for name, leaf in self.observations.items()})

    def in_parts(self, encode: Encode) -> Iterator[tuple[Tensor, Tensor | None]]:
        """(features, legal) of all rows, in order: kept features at once, others of a part at a time."""
        if self.features is not None:
            yield self.features, self.legal
            return
        first = 0
        for features in encoded_in_parts(self.observations, self.row_index, encode):
            last = first + len(features)
            yield features, None if self.legal is None else self.legal[first:last]
            first = last

    def select(self, where: Tensor) -> "Rows":
        """The rows `where` [m] int64, in that order."""
        kept = (None if tensor is None else tensor.index_select(0, where) for tensor in self[1:])
        return Rows._make((self.observations, *kept))

    def split(self, sizes: Sequence[int]) -> list["Rows"]:
        """Views of successive parts of so many rows."""
        if len(sizes) == 1:
            return [self]
        nothing = [None] * len(sizes)
        columns = [nothing if tensor is None else torch.split_with_sizes(tensor, sizes) for tensor in self[1:]]
        return [Rows._make((self.observations, *parts)) for parts in zip(*columns, strict=True)]


def encoded_in_parts(observations: Leaves, row_index: Tensor, encode: Encode) -> Iterator[Tensor]:
    """Features of the rows `row_index` [n] of observation leaves, of PART_ROWS or fewer at a time."""
    numbers = sum(leaf[:1].numel() for leaf in observations.values())
    for part in torch.split(row_index, max(1, min(PART_ROWS, PART_NUMBERS // max(1, numbers)))):
        yield encode({name: leaf.index_select(0, part) for name, leaf in observations.items()})
