"""State of a policy's memory: its leaf, and its names in the graph. Knows specs; knows no network and no graph."""

import msgspec

from dppo.protocol.leaves import Leaf
from dppo.protocol.specs import Spec

STATE = "state"  # input [E, size] float32: what the memory holds before the step
RESET = "reset"  # input [E] bool: the observation is the first one of an episode, so the state counts as zeros
NEXT_STATE = "next_state"  # output [E, size] float32: what the memory holds after the step
MOST_STATE = 2**20  # numbers of one environment's state


def with_state(spec: Spec, size: int) -> Spec:
    """Return the spec of rollouts whose policy has a state of that many numbers; 0: the spec itself.

    Environments know nothing of it: actors read the size from the graph, the learner from its settings.
    """
    return msgspec.structs.replace(spec, state=(Leaf(STATE, "<f4", (size,), "box"),)) if size else spec
