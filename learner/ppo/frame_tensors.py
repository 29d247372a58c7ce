"""Stacked frames of images as tensors of a minibatch. Which frames make a row is in `frames`, which knows no torch."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dppo.protocol.rollout import Leaves


class Frames(NamedTuple):
    """A stacked leaf of a batch."""

    frames: Tensor  # [F, *shape], each frame once
    rows: Tensor  # [R, k] int64: of `frames`, those that each row of observations is made of, the newest last

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the observations [n, k, *shape] of the rows `index` [n]; dim: 0, as of a tensor."""
        chosen = self.rows.index_select(dim, index)
        return self.frames.index_select(0, chosen.flatten()).view(*chosen.shape, *self.frames.shape[1:])

    def all(self) -> Tensor:
        """Return the observations [R, k, *shape] of all rows."""
        return self.frames[self.rows]

    @property
    def numbers(self) -> int:
        """Numbers of one row."""
        return self.rows.shape[1] * self.frames[:1].numel()


def tensors_of(
    observations: Leaves, frame_rows: Mapping[str, np.ndarray], device: torch.device | str
) -> dict[str, Tensor | Frames]:
    """Observation leaves of a batch as tensors. frame_rows: of the stacked ones, by name."""
    tensors: dict[str, Tensor | Frames] = {}
    for name, leaf in observations.items():
        tensor = torch.from_numpy(leaf).to(device)
        rows = frame_rows.get(name)
        tensors[name] = tensor if rows is None else Frames(tensor, torch.from_numpy(rows).to(device))
    return tensors


def whole(observations: Mapping[str, Tensor | Frames]) -> dict[str, Tensor]:
    """All rows of the leaves, stacked ones with each frame as often as it is seen."""
    return {name: leaf.all() if isinstance(leaf, Frames) else leaf for name, leaf in observations.items()}
