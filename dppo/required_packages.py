"""Packages that each command needs, and the error where one is missing. Knows module names; imports none of them."""

import importlib.util
from collections.abc import Iterable

from dppo.protocol.errors import UsageError

EXTRAS = {
    **dict.fromkeys(("torch", "onnx", "safetensors", "tensorboard", "matplotlib", "prometheus_client"), "learner"),
    **dict.fromkeys(("imageio", "imageio_ffmpeg", "PIL"), "video"),
    "pygame": "render",
    "optuna": "tune",
    **{service: service for service in ("wandb", "mlflow", "trackio")},
}
FILMING = ("PIL",)
METRICS = ("prometheus_client",)
TRAINING = ("torch", "onnx", "safetensors")


def missing_text(module: str) -> str:
    """Return what to say of a module that is not installed; "" where no extra brings it."""
    extra = EXTRAS.get(module.partition(".")[0])
    return "" if extra is None else f"{module} is not installed, and this needs it: pip install 'dppo[{extra}]'"


def need(modules: Iterable[str]) -> None:
    """Raise UsageError for the first module that is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise UsageError(missing_text(module))
