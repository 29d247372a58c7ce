"""Distributed PPO: the Python API. `python -m dppo` and the command `dppo` are the command line.

Names are imported when they are first used: `import dppo` costs nothing, and acting with a policy needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dppo.api.config import Config as Config
    from dppo.api.evaluation import EvaluationResult as EvaluationResult
    from dppo.api.evaluation import evaluate as evaluate
    from dppo.api.policy import Policy as Policy
    from dppo.api.policy import load_policy as load_policy
    from dppo.api.runs import RunRecord as RunRecord
    from dppo.api.runs import plot as plot
    from dppo.api.runs import runs as runs
    from dppo.api.training import Result as Result
    from dppo.api.training import train as train
    from dppo.protocol.errors import CheckpointError as CheckpointError
    from dppo.protocol.errors import DppoError as DppoError
    from dppo.protocol.errors import RefusedError as RefusedError
    from dppo.protocol.errors import UsageError as UsageError

__all__ = [
    "CheckpointError",
    "Config",
    "DppoError",
    "EvaluationResult",
    "Policy",
    "RefusedError",
    "Result",
    "RunRecord",
    "UsageError",
    "evaluate",
    "load_policy",
    "plot",
    "runs",
    "train",
]

_MODULES = {
    "Config": "api.config",
    "EvaluationResult": "api.evaluation",
    "Policy": "api.policy",
    "Result": "api.training",
    "RunRecord": "api.runs",
    "evaluate": "api.evaluation",
    "load_policy": "api.policy",
    "plot": "api.runs",
    "runs": "api.runs",
    "train": "api.training",
    **dict.fromkeys(("CheckpointError", "DppoError", "RefusedError", "UsageError"), "protocol.errors"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dppo' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"dppo.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
