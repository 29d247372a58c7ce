"""Masks of actions as people have them, to the rows that a policy's graph takes. Knows arrays; knows no environment."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dppo.actor.envs.mask_form import MaskForm, WrongMask
from dppo.protocol.action_masks import MASK
from dppo.protocol.errors import UsageError
from dppo.protocol.leaves import Leaf
from dppo.protocol.rollout import Leaves


class MaskRows:
    """Checks and converts masks in the forms that environments give, of one observation or of a batch."""

    def __init__(self, actions: Sequence[Leaf], masks: Sequence[Leaf]) -> None:
        self._name = masks[0].name if masks else ""
        self._form = MaskForm(actions) if masks else None

    def put_into(self, rows: Leaves, given: Any, *, is_batch: bool) -> None:
        """Add the mask bool [N, size] to the rows of an observation, by name. given: by the caller; None: nothing.

        Raises UsageError.
        """
        form, count = self._form, len(next(iter(rows.values())))
        if form is None:
            if given is not None:
                raise UsageError("action_masks: this policy was trained without masks, pass None")
            return
        in_observation = self._name != MASK
        if in_observation and given is not None:
            raise UsageError(f"action_masks: this policy takes the mask out of the observation, as {self._name}")
        if not in_observation and given is None:
            raise UsageError(
                "this policy was trained with masks: pass action_masks, as the environment gives them, for example "
                "info['action_mask']"
            )
        value = rows[self._name] if in_observation else given
        try:
            masks = form.flat_rows(value, count) if is_batch or in_observation else form.flat(value)[None]
        except WrongMask as error:
            raise UsageError(f"action_masks is {error}") from None
        dead = form.dead_end(masks)
        if dead is not None:
            of = f" of row {dead[0]}" if is_batch else ""
            raise UsageError(f"action_masks{of} allows no choice of {dead[1]}")
        rows[self._name] = np.array(masks, bool)
