"""Whether PyTorch has the device that is to train. Imports torch, which takes seconds, only for others than the CPU."""

import importlib
from typing import Any

from dppo.protocol.errors import UsageError

CPU = "cpu"


def check_device(name: str) -> None:
    """Raise UsageError where `run.device` is not there, with the devices that are."""
    if name == CPU:
        return
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        kinds = "cpu, cuda, cuda:1, mps or xpu"
        raise UsageError(f"run.device={name!r} is no device of PyTorch: choose for example {kinds}") from None
    try:
        torch.zeros(1, device=device).add_(1).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:200]
        raise UsageError(
            f"run.device={name} is not there: PyTorch {torch.__version__} has {', '.join(devices())} ({reason}). "
            "Choose one of these, or install a PyTorch that has it"
        ) from None


def check_nccl(learners: int) -> None:
    """Raise UsageError where so many learners of this host cannot add up between GPUs of their own."""
    import torch

    distributed: Any = importlib.import_module("torch.distributed")
    if not distributed.is_nccl_available():
        raise UsageError(
            f"run.backend=nccl is not there: PyTorch {torch.__version__} was built without NCCL. Install one that has "
            "it (Linux, CUDA), or leave it out (gloo)"
        )
    gpus = torch.cuda.device_count()
    if gpus < learners:
        raise UsageError(
            f"run.backend=nccl needs a GPU of its own for each learner, and there are {gpus} here for {learners}: "
            "start fewer learners, or leave it out (gloo)"
        )


def devices() -> list[str]:
    """Return the devices that this PyTorch can use."""
    import torch

    found = [CPU, *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    if torch.xpu.is_available():
        found.append("xpu")
    return found
