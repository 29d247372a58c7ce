"""Masks of an environment in a process of its own: checked there, and put flat into its info. Knows Gymnasium's Env."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from dppo.actor.envs.contract import Contract
from dppo.actor.envs.mask_reader import MaskReader, look_for_masks, needed_method
from dppo.protocol.action_masks import MASK
from dppo.protocol.specs import Spec

Note = Callable[[str], None]
Result = tuple[Any, Any, bool, bool, dict[str, Any]]  # of a step


class MasksInWorker:
    """Masks of one environment. A mask that is a leaf of its observations is checked, and stays where it is."""

    def __init__(self, environment: gym.Env[Any, Any], spec: Spec, action_mask: str, contract: Contract) -> None:
        """action_mask: as env.action_mask."""
        self.reader: MaskReader | None = None
        self._environment, self._spec, self._contract = environment, spec, contract
        self._is_settled = action_mask != "auto"
        if self._is_settled:
            self._mask_by("" if action_mask == "none" else action_mask)

    def told(self, info: Any) -> dict[str, Any]:
        """Return what the actor reads of an info about masks, a new dict: the flat mask that was put into it."""
        return {MASK: info[MASK]} if self.reader is not None and not self.reader.leaf else {}

    def after_reset(self, observation: Any, info: Any, note: Note) -> dict[str, Any]:
        """The info of a reset with the mask in it. note: called with the line about a mask that is found."""
        if not self._is_settled:
            self._is_settled = True
            found = look_for_masks(info, self._environment, self._spec)
            for line in found.notes:
                note(line)
            self._contract.refuses_masks = found.refuses
            self._mask_by(found.source)
        reader = self.reader
        if reader is None:
            return dict(info)
        mask = reader.after_reset(0, info, self._leaf(reader, observation))
        return dict(info) if reader.leaf else {**info, MASK: mask}

    def after_step(self, reader: MaskReader, result: Result) -> Result:
        """The result of a step with the mask in its info."""
        observation, reward, terminated, truncated, info = result
        leaf, ended = self._leaf(reader, observation), bool(terminated or truncated)
        mask = reader.after_step(0, info, leaf, ended=ended)
        if not reader.leaf:
            info = {**info, MASK: mask}
        return observation, reward, terminated, truncated, info

    def _mask_by(self, source: str) -> None:
        if source:
            by_method = source == "method"
            find = (lambda column: needed_method(self._environment)) if by_method else None
            self.reader = MaskReader(self._spec.action, source, find)

    def _leaf(self, reader: MaskReader, observation: Any) -> Any:
        """Return what the contract made of the leaf that is the mask."""
        if not reader.leaf:
            return None
        return observation[[leaf.name for leaf in self._contract.leaves].index(reader.leaf)]
