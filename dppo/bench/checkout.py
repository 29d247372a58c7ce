"""Benchmarks that run from a checkout only: what is in scripts/ is not installed."""

import os
import sys
from pathlib import Path

from dppo.protocol.errors import UsageError


def add_checkout() -> None:
    """Put the checkout last on the path of modules, also for child processes: its scripts/ is not installed."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "scripts" / "chaos").is_dir():
        raise UsageError("bench chaos: its drivers are not installed; run it from a checkout of dppo")
    sys.path.append(str(checkout))
    paths = [path for path in (os.environ.get("PYTHONPATH"), str(checkout)) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
