"""Masks of actions: one flat leaf with a flag for each choice of each element. Knows leaves; knows no spaces.

True: the choice is legal. Choices stand side by side, element by element and leaf by leaf in the spec's order; numbers
have none.
"""

from collections.abc import Sequence

from dppo.protocol.errors import ProtocolError
from dppo.protocol.leaf_paths import Nest
from dppo.protocol.leaves import Leaf

MASK = "action_mask"  # name of the leaf, and the key of an info; an observation's leaf that is the mask keeps its name


def choices_of(actions: Sequence[Leaf]) -> tuple[int, ...]:
    """Return how many choices each element of an action has, in the mask's order."""
    return tuple(count for leaf in actions for count in leaf.choices)


def mask_leaf(actions: Sequence[Leaf], name: str = MASK) -> Leaf:
    """Return the leaf of the masks of these actions, of which at least one has choices."""
    return Leaf(name, "|b1", (sum(choices_of(actions)),), "multi_binary")


def observed(observation: Sequence[Leaf], masks: Sequence[Leaf]) -> list[Leaf]:
    """Return the leaves of an observation as the environment gives it: a mask that is one of them is among them.

    Raises ProtocolError where the mask has no place there.
    """
    leaves = list(observation)
    for mask in masks:
        if mask.name == MASK:
            continue
        tries = [[*leaves[:place], mask, *leaves[place:]] for place in range(len(leaves) + 1)]
        fitting = [those for those in tries if _form_a_structure(those)]
        if not fitting:
            raise ProtocolError(f"the mask {mask.name[:64]} has no place among the leaves of the observations")
        leaves = fitting[0]
    return leaves


def _form_a_structure(leaves: Sequence[Leaf]) -> bool:
    try:
        Nest([leaf.name for leaf in leaves])
    except ProtocolError:
        return False
    return True


def with_mask(leaves: Sequence[Leaf], mask: Leaf) -> tuple[Leaf, ...]:
    """Return the leaves with the mask in the place of the one of its name, else behind them."""
    if any(leaf.name == mask.name for leaf in leaves):
        return tuple(mask if leaf.name == mask.name else leaf for leaf in leaves)
    return (*leaves, mask)
