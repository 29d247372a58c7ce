"""A user's memory that remembers nothing: found by a call with random features and states. Knows PyTorch.

A state that has no effect yet, behind a factor that begins at 0, is none: a gradient reaches it.
"""

import torch
from torch import Tensor

from dppo.learner.models.memory import StepwiseMemory
from dppo.protocol.errors import UsageError

ROWS = 6
ADVICE = "so it remembers nothing: make features of the state, and the next state of both, or take network.memory=none"


def check_memory(memory: StepwiseMemory, features: int) -> None:
    """Raise UsageError where the features do not depend on the state, or the next state is the given or a fixed one.

    features: numbers of the encoder's, f.
    """
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(ROWS, features, generator=generator).requires_grad_()
    state = torch.randn(ROWS, memory.size, generator=generator).requires_grad_()
    with torch.enable_grad():
        outputs, after = memory.module(given, state)
        with torch.no_grad():
            others, _ = memory.module(given, state.flip(0))
        why = ""
        if torch.equal(outputs, others) and not _depends(outputs, state):
            why = "gives the same features whatever its state is"
        elif torch.equal(after, state) and not _depends(after, given):
            why = "returns its state unchanged"
        elif torch.equal(after, after[:1].expand_as(after)) and not (_depends(after, given) or _depends(after, state)):
            why = "returns the same state whatever it is given"
    if why:
        raise UsageError(f"the memory {why}, {ADVICE}")


def _depends(result: Tensor, cause: Tensor) -> bool:
    """Return whether a gradient of the result reaches the cause."""
    if not result.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(result.sum(), [cause], retain_graph=True, allow_unused=True)
    return gradient is not None
