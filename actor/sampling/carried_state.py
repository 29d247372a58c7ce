"""State that the policy carries from step to step, of an actor's columns. Knows arrays and steps; knows no graph."""

from collections.abc import Sequence

import numpy as np

from dppo.actor.envs.interface import Step
from dppo.protocol.leaves import Leaf
from dppo.protocol.recurrent_state import RESET, STATE, stacked_name
from dppo.protocol.rollout import Leaves


class CarriedState:
    """State of a memory, and newest frames of images, in the running episodes of E columns.

    A memory begins an episode with zeros, frames with the first one repeated: both by `reset`, within the graph. A new
    version of the policy goes on with the state that the old one made: to make it again, an actor would have to
    keep whole episodes. Segments carry what they begin with, so that the learner trains from the same.
    """

    def __init__(self, envs: int, leaves: Sequence[Leaf]) -> None:
        self.leaves = tuple(leaves)
        self._states = {leaf.name: np.zeros((envs, *leaf.shape), leaf.dtype) for leaf in leaves}
        self._resets = np.ones(envs, bool)
        self.given: Leaves = {**self._states, RESET: self._resets}  # inputs of the graph, for the next step

    def before(self, observations: Leaves) -> Leaves:
        """Copies [E, ...] of what the next step, which is given these observations, begins with."""
        states = {name: array.copy() for name, array in self._states.items()}
        for name, array in states.items():
            if name != STATE:
                array[self._resets] = observations[stacked_name(name)][self._resets, None]
        return states

    def after(self, states: Leaves, step: Step) -> None:
        """Take over what the graph made of it, unless the step ended an episode or was none: a reset, a crash."""
        np.logical_or(step.terminated, step.truncated, out=self._resets)
        self._resets |= ~step.valid
        for name, array in self._states.items():
            array[...] = states[name]
        if STATE in self._states:
            self._states[STATE][self._resets] = 0.0
