"""A faster tanh for the CPU. Knows nothing of networks.

For 1024 x 64 float32 on one AVX-512 core numpy took 12 us and PyTorch 160 us; both are within 6e-8 of the exact value.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn


def tanh_in_place(tensor: Tensor) -> Callable[[], object]:
    """Return what replaces this tensor of any shape by its tanh, whenever it is called; no gradient flows."""
    if not tensor.is_cpu:
        return tensor.tanh_
    view = tensor.detach().numpy()
    return partial(np.tanh, view, view)


class Tanh(nn.Module):
    """A tanh that takes numpy's where no gradient and no graph is needed."""

    def forward(self, inputs: Tensor) -> Tensor:
        """The tanh of inputs of any shape."""
        if torch.is_grad_enabled() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return inputs.tanh()
        if not inputs.is_cpu:
            return inputs.tanh()
        outputs = torch.empty_like(inputs)
        np.tanh(inputs.detach().numpy(), outputs.numpy())
        return outputs
