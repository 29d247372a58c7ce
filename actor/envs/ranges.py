"""Observations outside of their space's bounds, and integers that a network cannot tell apart: reported, and used.

Knows arrays and spaces.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from dppo.actor.envs.returned_values import Note, element
from dppo.protocol.leaves import Leaf, leaf_spaces

FIRST_LOOKS = 256  # steps that are all looked at
LOOK_EVERY = 16  # and so many later
DARK = 64  # bytes that stay below it are hardly anything of 255
SMALLEST_IMAGE = 8  # pixels of the smaller side, from which an encoder of images takes it


class Ranges:
    """Looks at whole rows of a leaf for what is outside of a space's bounds: reported once, and used as it is.

    Looks at every one of the first steps, then at some: a space that is wrong shows soon, and a look costs 3 us.
    """

    def __init__(self, space: gym.Space[Any], leaf: Leaf, envs: int, note: Note = lambda text: None) -> None:
        self._leaf = leaf
        is_only = leaf.name == "observation"
        self._observations, self._name = ("observations", "") if is_only else (leaf.name, f"{leaf.name} = ")
        self._note = note
        self._steps = 0
        self._wide = leaf.kind == "box" and np.dtype(leaf.dtype).kind in "iu" and np.dtype(leaf.dtype).itemsize >= 4
        self._outside: np.ndarray | None = None
        self._brightest: int | None = (
            None  # pixel so far, of an image that may be brighter; None where it is not asked for
        )
        if isinstance(space, gym.spaces.Box):
            self._set_bounds(space, envs)

    def _set_bounds(self, space: gym.spaces.Box, envs: int) -> None:
        wire = np.dtype(self._leaf.dtype)
        if wire.kind == "b":
            return
        with np.errstate(all="ignore"):
            self._low, self._high = space.low.astype(wire), space.high.astype(wire)
        if wire.kind == "f":  # a value at a bound of float64 is rounded as the bound is
            limited = np.isfinite(self._low).any() or np.isfinite(self._high).any()
        else:
            kind = np.iinfo(wire)
            limited = (self._low > kind.min).any() or (self._high < kind.max).any()
            self._look_for_dark_images()
        if limited:
            self._outside = np.empty((2, envs, *self._leaf.shape), bool)

    def _look_for_dark_images(self) -> None:
        """Note an image of bytes whose bounds leave most of 0 to 255 out, which is what encoders divide by."""
        shape, brightest = self._leaf.shape, int(self._high.max())
        if self._leaf.dtype != "|u1" or len(shape) not in (2, 3) or sorted(shape)[-2] < SMALLEST_IMAGE:
            return
        if brightest < DARK:
            self._say_dark(f"of bytes from 0 to {brightest}")
        else:
            self._brightest = 0

    def _say_dark(self, how: str) -> None:
        are = "are" if self._leaf.name == "observation" else "is"
        self._note(
            f"{self._observations} {are} {how}: "
            "an encoder of images divides them by 255 and sees next to nothing; spread them over 0 to 255 (before "
            "they become bytes), or take --network.encoder flat"
        )

    def look(self, rows: np.ndarray) -> None:
        """Note what is outside of the bounds in observations [E, ...]."""
        self._steps += 1
        if self._steps > FIRST_LOOKS and self._steps % LOOK_EVERY:
            return
        if self._brightest is not None:
            self._brightest = max(self._brightest, int(rows.max()))
            if self._steps == FIRST_LOOKS:
                if self._brightest < DARK:
                    self._say_dark(f"bytes without one above {self._brightest} in the first {FIRST_LOOKS} steps")
                self._brightest = None
        if self._outside is not None:
            np.less(rows, self._low, out=self._outside[0])
            np.greater(rows, self._high, out=self._outside[1])
            if np.count_nonzero(self._outside):
                self._say(rows, self._outside)
        if self._wide and (np.count_nonzero(rows > 2**24) or np.count_nonzero(rows < -(2**24))):
            self._wide = False
            self._note(
                f"{self._observations} hold integers beyond 2^24 (16,777,216), which the network's float32 cannot tell "
                "apart: scale them in the environment"
            )

    def _say(self, rows: np.ndarray, outside: np.ndarray) -> None:
        self._outside = None  # once
        where = np.argwhere(outside.any(axis=0))[0]
        column, index = int(where[0]), tuple(int(i) for i in where[1:])
        self._note(
            f"environment {column} observes {self._name}{rows[tuple(where)]:g}{element(index)}, outside of the "
            f"{self._low[index]:g} to {self._high[index]:g} that its observation_space says; it is used as it is"
        )


def ranges_of(
    space: gym.Space[Any], leaves: Sequence[Leaf], envs: int, note: Note = lambda text: None
) -> list[tuple[str, Ranges]]:
    """The leaves of observations whose values are to be looked at, by name. space: of observations."""
    spaces = [of_leaf for _, of_leaf in leaf_spaces(space, "observation")]
    pairs = zip(spaces, leaves, strict=True)
    return [(leaf.name, Ranges(of_leaf, leaf, envs, note)) for of_leaf, leaf in pairs if leaf.kind == "box"]
