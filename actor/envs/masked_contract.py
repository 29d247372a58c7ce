"""Contract of single environments that say which actions are legal. Knows values and spaces; steps nothing."""

from collections.abc import Callable
from typing import Any

from dppo.actor.envs.contract import Contract
from dppo.actor.envs.mask_reader import MaskReader
from dppo.protocol.action_masks import mask_leaf, with_mask
from dppo.protocol.leaves import Leaf


class MaskedContract:
    """Takes what `Contract` takes; an observation is a list of its leaves with the mask, flat, as one of them."""

    is_nested = True

    def __init__(
        self, contract: Contract, reader: MaskReader, actions: tuple[Leaf, ...], column: Callable[[], int]
    ) -> None:
        """column: of the environment that returned what is looked at."""
        self._contract = contract
        self.reader = reader
        self._column = column
        mask = mask_leaf(actions, *([reader.leaf] if reader.leaf else []))
        self.leaves = with_mask(contract.leaves, mask)
        names = [leaf.name for leaf in contract.leaves]
        self._place = names.index(reader.leaf) if reader.leaf else len(names)  # of the mask among the leaves

    def step(self, result: Any) -> Any:
        """Return the result of a step. Raises BrokenContract."""
        observation, reward, terminated, truncated, info = self._contract.step(result)
        leaves, given = self._split(observation)
        ended = bool(terminated or truncated)
        leaves[self._place : self._place + 1] = [self.reader.after_step(self._column(), info, given, ended=ended)]
        return leaves, reward, terminated, truncated, info

    def reset(self, result: Any) -> tuple[Any, Any]:
        """Return the result of a reset: (leaves, info). Raises BrokenContract."""
        observation, info = self._contract.reset(result)
        leaves, given = self._split(observation)
        leaves[self._place : self._place + 1] = [self.reader.after_reset(self._column(), info, given)]
        return leaves, info

    def _split(self, observation: Any) -> tuple[list[Any], Any]:
        """The leaves, a new list, and the one that is the mask."""
        leaves = list(observation) if self._contract.is_nested else [observation]
        return leaves, leaves[self._place] if self.reader.leaf else None
