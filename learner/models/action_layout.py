"""Places of an action's leaves in the outputs of a policy, its noise, and the actions it trains on. Knows specs.

The elements of all Box leaves form one Gaussian, those of all others one distribution over choices: leaves are
independent of each other, so the joint log-prob is the same as by a distribution for each leaf.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from dppo.learner.models.distributions import PADDING
from dppo.protocol.leaves import Leaf

Kind = Literal["gaussian", "categorical", "multi_categorical", "joint"]

TORCH_DTYPES = {
    "|u1": torch.uint8,
    "|i1": torch.int8,
    "|b1": torch.bool,
    "<i2": torch.int16,
    "<i4": torch.int32,
    "<i8": torch.int64,
    "<f4": torch.float32,
    "<f8": torch.float64,
}


class ActionLayout:
    """Layout of the leaves of one spec. Rows of actions hold the numbers first, then the choices."""

    def __init__(
        self,
        leaves: Sequence[Leaf],
        noise_of_a_number: tuple[int, int] = (1, 0),
        held_steps: int = 1,
        noise_colour: float = 0.0,
    ) -> None:
        """noise_of_a_number: how many normal and Gumbel numbers of noise a sample takes for each number.

        held_steps: for which the noise of numbers stays the same; 0: for an episode. noise_colour: of the noise of
        numbers; 0: white.
        """
        self.leaves = tuple(leaves)
        self.boxes = tuple(leaf for leaf in leaves if leaf.kind == "box")
        self.chosen = tuple(leaf for leaf in leaves if leaf.kind != "box")
        self.numbers = sum(leaf.elements for leaf in self.boxes)  # n
        self.choices = tuple(count for leaf in self.chosen for count in leaf.choices)  # values of each of k elements
        self.most = max(self.choices, default=0)  # m
        self._manner = "" if held_steps == 1 else f":{held_steps or 'episode'}"
        if noise_colour:
            self._manner = f":colour{noise_colour:.6f}".rstrip("0").rstrip(".")
        self._normals, self._gumbels = (self.numbers * of_each for of_each in noise_of_a_number)
        self.kind: Kind = "joint" if self.boxes else "multi_categorical"
        if not self.chosen:
            self.kind = "gaussian"
        elif len(self.leaves) == 1 and self.leaves[0].kind == "discrete":
            self.kind = "categorical"

    @property
    def noise_of_numbers(self) -> int:
        """Numbers of noise that a sample of all numbers takes, which come first."""
        return self._normals + self._gumbels

    @property
    def noise_size(self) -> int:
        """Numbers of noise that a sample takes: those of its numbers, and one for each value of each choice."""
        return self.noise_of_numbers + len(self.choices) * self.most

    @property
    def noise(self) -> str:
        """Kinds of noise in order: "normal", "gumbel", or both with how many of each, "normal:2 gumbel:6".

        "normal:2:16" stays the same for 16 steps, "normal:2:episode" for an episode, "normal:2:colour0.5" is coloured.
        """
        gumbels = self.noise_size - self._normals
        if not (self._normals and gumbels) and not self._manner:
            return "normal" if self._normals else "gumbel"
        parts = {f"normal:{self._normals}{self._manner}": self._normals, f"gumbel:{gumbels}": gumbels}
        return " ".join(part for part, size in parts.items() if size)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest of each number, [n] float32 each; infinite where there is none."""
        low = torch.cat([_each(leaf.low, -math.inf, leaf.elements) for leaf in self.boxes])
        high = torch.cat([_each(leaf.high, math.inf, leaf.elements) for leaf in self.boxes])
        return low, high

    def padding(self) -> Tensor | None:
        """Return what is added to the logits, [k, m]; None where every element has m choices."""
        if min(self.choices, default=0) == self.most:
            return None
        missing = torch.arange(self.most) >= torch.tensor(self.choices).unsqueeze(-1)
        return torch.where(missing, PADDING, 0.0)

    def starts(self) -> Tensor:
        """The smallest value of each choice, [k] int64."""
        return torch.tensor([start for leaf in self.chosen for start in leaf.starts], dtype=torch.int64)

    def rows(self, actions: Mapping[str, Tensor]) -> Tensor:
        """Actions to train on of leaves [N, *shape] by name: [N, n] or [N, n + k] float32, [N] or [N, k] int64."""
        if self.kind == "categorical":
            return actions[self.leaves[0].name]
        flat = [
            actions[leaf.name].flatten(1) if leaf.shape else actions[leaf.name].unsqueeze(1) for leaf in self._order
        ]
        dtype = torch.float32 if self.boxes else torch.int64
        return flat[0].to(dtype) if len(flat) == 1 else torch.cat([part.to(dtype) for part in flat], 1)

    def halves(self, action: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(numbers [N, n], choices [N, k] int64) of rows [N, ...] of several actions; None where there are none."""
        if not self.chosen:
            return action, None
        if not self.boxes:
            return None, action
        return action[:, : self.numbers], action[:, self.numbers :].to(torch.int64)

    def parts(self, numbers: Tensor | None, choices: Tensor | None) -> list[Tensor]:
        """Leaves [N, *shape] in the spec's order, of numbers [N, n] and choices [N, k]."""
        parts: dict[str, Tensor] = {}
        for leaves, rows in ((self.boxes, numbers), (self.chosen, choices)):
            if rows is None:
                continue
            sizes = [leaf.elements for leaf in leaves]
            columns = [rows] if len(leaves) == 1 else torch.split(rows, sizes, 1)
            for leaf, part in zip(leaves, columns, strict=True):
                parts[leaf.name] = part if len(leaf.shape) == 1 else part.reshape(-1, *leaf.shape)
        return [parts[leaf.name] for leaf in self.leaves]

    @property
    def _order(self) -> tuple[Leaf, ...]:
        return self.boxes + self.chosen


def env_name(leaf: Leaf) -> str:
    """Name of the leaf's output that the environment is given: env_action.arm of action.arm."""
    return f"env_{leaf.name}"


def as_stored(leaf: Leaf, action: Tensor) -> Tensor:
    """Return the action in the wire's dtype; flags are bools."""
    return action.to(torch.bool) if leaf.kind == "multi_binary" else action


def as_given(leaf: Leaf, action: Tensor) -> Tensor:
    """Return integers in the environment's own dtype, where PyTorch has it; numbers as float32."""
    if leaf.kind == "box" and (leaf.env_dtype or leaf.dtype).startswith("<f"):
        return action
    dtype = TORCH_DTYPES.get(leaf.env_dtype, action.dtype)
    return (action.round() if leaf.kind == "box" else action).to(dtype)


def _each(bounds: Sequence[float], none: float, elements: int) -> Tensor:
    """Bounds as in a spec (one for each element, one for all, or none), float32 [elements]."""
    tensor = torch.tensor(tuple(bounds) or (none,), dtype=torch.float32)
    return tensor.expand(elements).clone() if len(tensor) != elements else tensor
