"""Random actions of any spec, in the form in which a policy's reach the environments. Pure."""

import numpy as np

from dppo.protocol.action_masks import choices_of
from dppo.protocol.leaves import Leaf
from dppo.protocol.rollout import Leaves
from dppo.protocol.specs import Spec

SPREAD = 1.0  # std of a number that its space does not bound


class RandomActions:
    """Draws actions of one environment, legal ones where it masks them."""

    def __init__(self, spec: Spec, seed: int) -> None:
        self._leaves = spec.action
        self._mask = spec.mask[0].name if spec.mask else ""
        self._rng = np.random.default_rng(seed)

    def next(self, observations: Leaves) -> np.ndarray | Leaves:
        """The next env_action [1, ...], or its leaves by name. observations: leaf name -> [1, ...]."""
        legal = self._legal(observations)
        drawn = {
            f"env_{leaf.name}": self._drawn(leaf, flags)[None] for leaf, flags in zip(self._leaves, legal, strict=True)
        }
        return drawn.get("env_action", drawn)

    def _legal(self, observations: Leaves) -> list[list[np.ndarray]]:
        """Flags of each element's choices, for each leaf; all true without a mask."""
        mask = observations[self._mask][0] if self._mask else np.ones(sum(choices_of(self._leaves)), bool)
        by_leaf, first = list[list[np.ndarray]](), 0
        for leaf in self._leaves:
            by_leaf.append([])
            for count in leaf.choices:
                by_leaf[-1].append(mask[first : first + count])
                first += count
        return by_leaf

    def _drawn(self, leaf: Leaf, legal: list[np.ndarray]) -> np.ndarray:
        if leaf.kind == "box":
            return self._numbers(leaf)
        chosen = [
            start + self._rng.choice(np.flatnonzero(flags)) for start, flags in zip(leaf.starts, legal, strict=True)
        ]
        return np.array(chosen, leaf.dtype).reshape(leaf.shape)

    def _numbers(self, leaf: Leaf) -> np.ndarray:
        low, high = bounds_of(leaf)
        bounded = np.isfinite(low) & np.isfinite(high)
        inside = self._rng.uniform(np.where(bounded, low, 0), np.where(bounded, high, 1))
        numbers = np.clip(np.where(bounded, inside, self._rng.normal(0, SPREAD, len(low))), low, high)
        if np.dtype(leaf.env_dtype or leaf.dtype).kind in "iu":
            numbers = np.rint(numbers)
        return numbers.reshape(leaf.shape).astype(np.float32)


def bounds_of(leaf: Leaf) -> tuple[np.ndarray, np.ndarray]:
    """The bounds [elements] of a box leaf; infinite where it has none."""
    low = np.array(leaf.low or (-np.inf,), np.float64)
    high = np.array(leaf.high or (np.inf,), np.float64)
    return np.broadcast_to(low, (leaf.elements,)), np.broadcast_to(high, (leaf.elements,))
