"""Masks of the actions of a vector's environments, a row for each. Knows arrays and infos; knows no autoreset mode."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dppo.actor.envs.mask_form import WrongMask
from dppo.actor.envs.mask_reader import Call, MaskReader, Method, at_step, missing, no_action, wrong
from dppo.actor.envs.returned_values import BrokenContract, row_of
from dppo.protocol.action_masks import MASK, mask_leaf
from dppo.protocol.leaves import Leaf
from dppo.protocol.rollout import Leaves


class VectorMasks:
    """Masks of E environments that are stepped together."""

    def __init__(
        self, actions: Sequence[Leaf], source: str, envs: int, find: Callable[[], Method] | None = None
    ) -> None:
        """source: as of MaskReader. find: the vector's method, called after each reset, which may have made it."""
        reader = MaskReader(actions, source)
        self._form, self._leaf, self.source = reader.form, reader.leaf, source
        self._find = find
        self._method: Method | None = None
        self.leaf = mask_leaf(actions, *([source] if reader.leaf else []))
        self._envs = envs
        self._steps = np.zeros(envs, np.int64)  # of the running episodes
        self._newest = np.ones((envs, self._form.size), bool)

    @property
    def all_legal(self) -> np.ndarray:
        """Masks [E, size] that forbid nothing."""
        return np.ones((self._envs, self._form.size), bool)

    def after_reset(self, observations: Leaves, infos: Mapping[str, Any]) -> np.ndarray:
        """Masks [E, size] of first observations. Raises BrokenContract."""
        self._steps[:] = 0
        self._method = None if self._find is None else self._find()
        return self._read("reset", observations, infos, np.ones(self._envs, bool))

    def after_reset_of(self, columns: np.ndarray, observations: Leaves, infos: Mapping[str, Any]) -> np.ndarray:
        """Masks [E, size]: those of the columns [E] bool, which were reset, are new."""
        self._steps[columns] = 0
        return self._read("reset", observations, infos, columns)

    def after_step(
        self, observations: Leaves, infos: Mapping[str, Any], *, over: np.ndarray, began: np.ndarray
    ) -> np.ndarray:
        """Masks [E, size] of a step's observations. Raises BrokenContract.

        over: [E] columns whose episodes' last observations these are, on which nothing is chosen. began: [E] columns
        whose episodes' first ones these are.
        """
        self._steps += 1
        self._steps[began] = 0
        return self._read("step", observations, infos, ~over)

    def _read(self, call: Call, observations: Leaves, infos: Mapping[str, Any], asked: np.ndarray) -> np.ndarray:
        """Masks [E, size], new where they are asked for, and all legal where not."""
        masks = self.all_legal if call == "step" else self._newest.copy()
        if asked.any():
            read = self._values(call, observations, infos, asked)
            masks[asked] = read[asked]
            dead = self._form.dead_end(masks)
            if dead is not None:
                column, element = dead
                raise BrokenContract(no_action(self.source, call, element, self._at(column, call)))
        self._newest = masks
        return masks

    def _values(self, call: Call, observations: Leaves, infos: Mapping[str, Any], asked: np.ndarray) -> np.ndarray:
        if self.source == "info":
            reported = infos.get(f"_{MASK}", True) if MASK in infos else False  # Gymnasium's own, of which columns
            lacking = asked & ~np.broadcast_to(reported, asked.shape)
            if lacking.any():
                raise BrokenContract(missing(call, self._at(int(lacking.argmax()), call)))
            value = infos[MASK]
        else:
            value = observations[self._leaf] if self._method is None else self._method()
        try:
            return self._form.flat_rows(value, self._envs)
        except WrongMask as error:
            if asked.all():
                raise BrokenContract(wrong(self.source, call, error, self._named(value, asked, call))) from None
        return self._one_by_one(value, asked, call)

    def _one_by_one(self, value: Any, asked: np.ndarray, call: Call) -> np.ndarray:
        """Read the rows that are asked for: what the others hold is not looked at."""
        masks = self.all_legal
        for column in np.flatnonzero(asked).tolist():
            try:
                masks[column] = self._form.flat(row_of(value, column))
            except (WrongMask, IndexError, TypeError, KeyError) as error:
                what = error if isinstance(error, WrongMask) else WrongMask("a mask of each environment", str(error))
                raise BrokenContract(wrong(self.source, call, what, self._at(column, call))) from None
        return masks

    def _named(self, value: Any, asked: np.ndarray, call: Call) -> str:
        """Return of which environment, and of which step, the first value is that is no mask."""
        for column in np.flatnonzero(asked).tolist():
            try:
                self._form.flat(row_of(value, column))
            except (WrongMask, IndexError, TypeError, KeyError):
                return self._at(column, call)
        return ""

    def _at(self, column: int, call: Call) -> str:
        step = at_step(int(self._steps[column])) if call == "step" else ""
        return f" of environment {column}{step}"
