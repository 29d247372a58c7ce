"""Settings of PyTorch and NumPy that a whole process shares, as the learner's arithmetic needs them.

A user's code in the same process (an environment of a run without actors, hooks, a program that calls dppo.train) may
have changed them for itself: a default dtype of float64, no gradients, errors in the place of warnings.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_numerics() -> Iterator[None]:
    """Use Python's start values of these settings, and put back on leaving what was there."""
    import numpy as np
    import torch

    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    if device.type != "cpu":
        torch.set_default_device(None)
    try:
        with torch.enable_grad(), np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
            yield
    finally:
        torch.set_default_dtype(dtype)
        if device.type != "cpu":
            torch.set_default_device(device)
