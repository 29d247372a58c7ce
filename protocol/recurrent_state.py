"""Leaves that a policy carries from step to step: the state of a memory, the newest frames of images. Knows specs only.

A segment begins with a copy of them, so that the learner sees what the policy saw. Environments know nothing of them:
actors read them from the graph, by the names below, and the learner from its settings.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from dppo.protocol.leaves import Leaf
from dppo.protocol.specs import Spec

if TYPE_CHECKING:
    import numpy as np

STATE = "state"  # input [E, size] float32: what the memory holds before the step
FRAMES = "frames"  # input [E, k - 1, *shape] of a stacked leaf: the frames before the observation, oldest first
RESET = "reset"  # input [E] bool: the observation is an episode's first one: state counts as zeros, frames as this one
NEXT = "next_"  # before the name of each of these, but reset: output, the same after the step
MOST_STATE = 2**20  # numbers of one environment's state
MOST_FRAMES = 2**26  # bytes of one environment's frames of one leaf

OBSERVATION = "observation"


def with_state(spec: Spec, size: int, frames: tuple[Leaf, ...] = ()) -> Spec:
    """Return the spec of rollouts whose policy carries this; the spec itself where it carries nothing.

    size: numbers of the memory's state, 0 without memory. frames: as `frames_leaf` makes them.
    """
    carried = (Leaf(STATE, "<f4", (size,), "box"), *frames) if size else frames
    return msgspec.structs.replace(spec, state=carried) if carried else spec


def carrying(spec: Spec, states: "Mapping[str, np.ndarray]") -> Spec:
    """Return the spec of rollouts that carry these arrays [E, ...], by name."""
    size = states[STATE].shape[1] if STATE in states else 0
    leaves = {leaf.name: leaf for leaf in spec.observation}
    names = [name for name in states if name != STATE]
    frames = tuple(frames_leaf(leaves[stacked_name(name)], states[name].shape[1]) for name in names)
    return with_state(spec, size, frames)


def frames_leaf(leaf: Leaf, before: int) -> Leaf:
    """Return the leaf of so many frames before an observation, of one that is stacked."""
    return Leaf(FRAMES + leaf.name.removeprefix(OBSERVATION), leaf.dtype, (before, *leaf.shape), "box")


def stacked_name(frames: str) -> str:
    """Return the name of the observation leaf that these frames are of: observation.camera of frames.camera."""
    return OBSERVATION + frames.removeprefix(FRAMES)


def carried_names(names: Iterable[str]) -> list[str]:
    """Return those of a graph's inputs that are carried from step to step."""
    return [name for name in names if name == STATE or name.partition(".")[0] == FRAMES]
