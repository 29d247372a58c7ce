"""Masks of an environment's actions: where they come from, and what each must be. Knows values; steps nothing.

The mask of the observation that ends an episode is not looked at: nothing is chosen there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from dppo.actor.envs.mask_form import MaskForm, WrongMask
from dppo.actor.envs.mask_lookalikes import METHOD, lookalikes
from dppo.actor.envs.returned_values import BrokenContract
from dppo.protocol.action_masks import MASK, choices_of
from dppo.protocol.errors import UsageError
from dppo.protocol.leaves import Leaf
from dppo.protocol.specs import Spec

OFF_ADVICE = "env.action_mask: none turns masks off"

Method = Callable[[], Any]
Call = Literal["reset", "step"]


def check_source(setting: str, observation: Sequence[Leaf], actions: Sequence[Leaf]) -> None:
    """Raise UsageError where the setting env.action_mask asks for what these spaces cannot have."""
    if setting in ("auto", "none"):
        return
    if not choices_of(actions):
        raise UsageError(f"env.action_mask={setting}: the actions are numbers, and masks are of choices: take none")
    if setting not in ("info", "method"):
        leaves = {leaf.name: leaf for leaf in observation}
        if setting not in leaves:
            raise UsageError(f"env.action_mask={setting}: the leaves of observations are {', '.join(leaves)}")
        if len(leaves) == 1:
            raise UsageError(f"env.action_mask={setting}: without it there is nothing to observe")
        size = sum(choices_of(actions))
        if leaves[setting].shape != (size,):
            raise UsageError(
                f"env.action_mask={setting} has shape {leaves[setting].shape}: a mask that is observed has here shape "
                f"({size},), a flag for each choice"
            )


def method_of(environment: Any) -> Method | None:
    """Return the method action_masks() of the environment or of a wrapper around it; None where there is none."""
    try:
        find = getattr(environment, "get_wrapper_attr", None)  # vectors have none
        method: Any = getattr(environment, METHOD) if find is None else find(METHOD)
    except AttributeError:
        return None
    return method if callable(method) else None


def needed_method(environment: Any) -> Method:
    """Return the same. Raises UsageError where there is none."""
    method = method_of(environment)
    if method is None:
        raise UsageError(
            f"env.action_mask=method: the environment ({environment}) has no method {METHOD}(): "
            "write one, or give info['action_mask']"
        )
    return method


class Found(NamedTuple):
    """Result of looking for masks in the first reset."""

    source: str  # "info", "method", or "" for none
    notes: Sequence[str]  # for people
    refuses: bool = False  # no later info may hold one


def look_for_masks(info: Any, environment: Any, spec: Spec) -> Found:
    """Look for the source of masks that counts where none is set. info: of the first reset.

    environment: a single one, a vector, or None where only the info counts.
    """
    has_mask = isinstance(info, Mapping) and MASK in info
    if not choices_of(spec.action):
        return Found("", [f"the info holds {MASK!r}, and the actions are numbers: masks are of choices"] * has_mask)
    source = "info" if has_mask else "method" if method_of(environment) is not None else ""
    if source:
        return Found(source, [f"actions are masked by {_called(source)}: none that it forbids is chosen; {OFF_ADVICE}"])
    size = sum(choices_of(spec.action))
    alike = [leaf.name for leaf in spec.observation if leaf.name.endswith(f".{MASK}") and leaf.elements == size]
    notes = [f"{name} is a feature like others; with env.action_mask: {name} it masks actions" for name in alike]
    return Found("", notes or lookalikes(info, environment), refuses=True)


class MaskReader:
    """Reads the masks of E environments, one at a time, and counts their steps for messages."""

    def __init__(
        self, actions: Sequence[Leaf], source: str, find: Callable[[int], Method] | None = None, envs: int = 1
    ) -> None:
        """source: "info", "method", or the name of a leaf of observations.

        find: the method of the environment in a column, called after each reset, which may have made it.
        """
        self.form = MaskForm(actions)
        self.source = source
        self.leaf = "" if source in ("info", "method") else source
        self._find = find
        self._methods: list[Method | None] = [None] * envs  # of the running episodes
        self._steps = [0] * envs  # of the running episodes

    def after_reset(self, column: int, info: Mapping[str, Any], leaf: Any = None) -> np.ndarray:
        """The mask bool [size] of a first observation. leaf: of the observation, where it is the source.

        Raises BrokenContract.
        """
        self._steps[column] = 0
        if self._find is not None:
            self._methods[column] = self._find(column)
        return self._checked(column, "reset", info, leaf)

    def after_step(self, column: int, info: Mapping[str, Any], leaf: Any, *, ended: bool) -> np.ndarray:
        """The mask bool [size] of a step's observation; all legal where the step ended the episode."""
        self._steps[column] += 1
        return self.form.all_legal if ended else self._checked(column, "step", info, leaf)

    def _checked(self, column: int, call: Call, info: Mapping[str, Any], leaf: Any) -> np.ndarray:
        if self.source == "info":
            if MASK not in info:
                raise BrokenContract(missing(call, self._at(column, call)))
            value = info[MASK]
        else:
            method = self._methods[column]
            value = leaf if method is None else method()
        try:
            mask = self.form.flat(value)
        except WrongMask as error:
            raise BrokenContract(wrong(self.source, call, error, self._at(column, call))) from None
        if not self.form.lives(mask):
            _, element = self.form.dead_end(mask[None]) or (0, "")
            raise BrokenContract(no_action(self.source, call, element, self._at(column, call)))
        return mask

    def _at(self, column: int, call: Call) -> str:
        return at_step(self._steps[column]) if call == "step" else ""


def at_step(step: int) -> str:
    """Return the place in an episode, for messages."""
    return f", in step {step} of its episode"


def missing(call: Call, where: str) -> str:
    """Return the line about an info without a mask."""
    return (
        f"{call}() returned no info[{MASK!r}]{where}: expected one with every observation to act on, from reset() and "
        "from step()"
    )


def wrong(source: str, call: Call, error: WrongMask, where: str) -> str:
    """Return the line about a value that is no mask."""
    return f"{_returned(source, call)} {error.got}{where}: expected {error.expected}; {OFF_ADVICE}"


def no_action(source: str, call: Call, element: str, where: str) -> str:
    """Return the line about a mask without a legal choice. element: that has none."""
    return (
        f"{_returned(source, call)} a mask without any legal choice of {element}{where}: at least one must be legal "
        "until the episode ends"
    )


def _returned(source: str, call: Call) -> str:
    if source == "method":
        return f"{METHOD}() returned after {call}()"
    return f"{call}() returned as {_called(source)}"


def _called(source: str) -> str:
    return {"info": f"info[{MASK!r}]", "method": f"its method {METHOD}()"}.get(source, source)


def source_text(source: str) -> str:
    """The source, for the log: "actions masked by info['action_mask']"; "" for none."""
    return f", actions masked by {_called(source)}" if source else ""
