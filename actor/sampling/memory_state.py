"""State of the policy's memory for the columns of an actor. Knows arrays and steps; knows no graph."""

import numpy as np

from dppo.actor.envs.interface import Step
from dppo.protocol.recurrent_state import RESET, STATE
from dppo.protocol.rollout import Leaves


class MemoryState:
    """State of a memory in the running episodes of E columns: zeros where one begins.

    A new version of the policy goes on with the state that the old one made: to make it again, an actor would have to
    keep whole episodes. Segments carry the state that they begin with, so that the learner trains from the same one.
    """

    def __init__(self, envs: int, size: int) -> None:
        self.size = size
        self._states, self._resets = np.zeros((envs, size), np.float32), np.ones(envs, bool)
        self.given: Leaves = {STATE: self._states, RESET: self._resets}  # inputs of the graph, for the next step

    def before(self) -> Leaves:
        """Copy of the state [E, size] that the next step begins with, by its leaf's name."""
        return {STATE: self._states.copy()}

    def after(self, next_state: np.ndarray, step: Step) -> None:
        """Take over what the graph made of it, unless the step ended an episode or was none: a reset, a crash."""
        np.logical_or(step.terminated, step.truncated, out=self._resets)
        self._resets |= ~step.valid
        self._states[...] = next_state
        self._states[self._resets] = 0.0
