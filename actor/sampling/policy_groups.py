"""Acts in groups of a fixed number of rows, each slot always at the same place of its group. Knows arrays.

What a graph computes for a row may differ in the last bit with the number of rows and with the row's place among them:
with 1, 3, 5 or 7 rows instead of 8, log_prob of a perceptron did. In groups it depends on the row alone, whichever
actor has the slot. Rows of slots that the actor does not have are copies of its own.
"""

from typing import NamedTuple

import numpy as np

from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.protocol.rollout import Leaves

Acted = tuple[Leaves, np.ndarray | Leaves, np.ndarray]


class Group(NamedTuple):
    """One group: which of the actor's rows are in it, and at which places."""

    rows: slice
    places: slice


def in_groups(runner: PolicyRunner, *, first_slot: int, envs: int) -> "PolicyRunner | PolicyGroups":
    """Return what acts with that policy for these slots: in groups, where its graph asks for them."""
    size = runner.group_rows
    if not size or (envs == size and first_slot % size == 0):
        return runner
    return PolicyGroups(runner, first_slot=first_slot, envs=envs)


class PolicyGroups:
    """A policy that acts for E slots in groups of runner.group_rows."""

    def __init__(self, runner: PolicyRunner, *, first_slot: int, envs: int) -> None:
        self._runner = runner
        self._groups = groups_of(first_slot, envs, runner.group_rows)
        self._inputs: Leaves = {}  # [group_rows, ...] each, once the shapes are known
        self._acted: Acted | None = None  # of all rows, likewise
        self.after: Leaves = {leaf.name: np.zeros((envs, *leaf.shape), leaf.dtype) for leaf in runner.carried}

    def act(self, observations: Leaves, noise: np.ndarray) -> Acted:
        """Act as PolicyRunner.act does, on E rows; `after` is as PolicyRunner's."""
        given = {**observations, "noise": noise}
        if not self._inputs:
            size = self._runner.group_rows
            self._inputs = {name: np.repeat(array[:1], size, axis=0) for name, array in given.items()}
        for group in self._groups:
            for name, array in self._inputs.items():
                array[group.places] = given[name][group.rows]
            acted = self._runner.act(self._inputs, self._inputs["noise"])
            if self._acted is None:
                self._acted = _for_rows(acted, len(noise))
            _copy(acted, group.places, self._acted, group.rows)
            after = self._runner.after
            for name, array in self.after.items():
                array[group.rows] = after[name][group.places]
        assert self._acted is not None, "an actor has environments"
        return self._acted


def groups_of(first_slot: int, envs: int, size: int) -> list[Group]:
    """Return the groups of `size` neighbouring slots, counted from slot 0, in which the slots of an actor are."""
    found, slot, end = [], first_slot, first_slot + envs
    while slot < end:
        until = min(end, (slot // size + 1) * size)
        found.append(Group(slice(slot - first_slot, until - first_slot), slice(slot % size, (until - 1) % size + 1)))
        slot = until
    return found


def _leaves(acted: Acted) -> list[np.ndarray]:
    actions, env_action, log_probs = acted
    own = list(env_action.values()) if isinstance(env_action, dict) else [env_action]
    return [*actions.values(), *own, log_probs]


def _for_rows(acted: Acted, rows: int) -> Acted:
    """Return arrays like these, for so many rows."""

    def like(array: np.ndarray) -> np.ndarray:
        return np.empty((rows, *array.shape[1:]), array.dtype)

    actions, env_action, log_probs = acted
    own = {name: like(a) for name, a in env_action.items()} if isinstance(env_action, dict) else like(env_action)
    return {name: like(array) for name, array in actions.items()}, own, like(log_probs)


def _copy(acted: Acted, places: slice, into: Acted, rows: slice) -> None:
    for source, target in zip(_leaves(acted), _leaves(into), strict=True):
        target[rows] = source[places]
