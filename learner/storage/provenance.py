"""Provenance of a run: machine, versions, revision. Knows nothing of the run; imports none of what it names."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

DISTRIBUTIONS = (
    "dppo",
    "torch",
    "numpy",
    "gymnasium",
    "pyzmq",
    "msgpack",
    "msgspec",
    "onnx",
    "onnxruntime",
    "safetensors",
    "tensorboard",
    "mujoco",
    "ale-py",
    "box2d",
)


def provenance() -> dict[str, Any]:
    """Plain JSON values; None for what is not installed or cannot be found out. Takes about 10 ms, mostly git's."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": cpu_model(),
        "versions": {name: _version(name) for name in DISTRIBUTIONS} | {"libzmq": _libzmq_version()},
        "git": git_revision(Path(__file__).resolve().parents[2]),
    }


def cpu_model() -> str | None:
    """The processor as the kernel names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or None


def git_revision(checkout: Path) -> str | None:
    """The commit checked out at `checkout`, "+changes" appended where tracked files differ; None for no checkout."""
    # the top level is compared because an installed package may lie in a virtual environment inside a foreign checkout
    found = _git(checkout, "rev-parse", "--show-toplevel", "HEAD")
    if found is None or found.returncode != 0:
        return None
    toplevel, revision = found.stdout.splitlines()
    if Path(toplevel) != checkout:
        return None
    changes = _git(checkout, "diff", "--quiet", "HEAD")
    return revision if changes is not None and changes.returncode == 0 else f"{revision}+changes"


def _git(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _version(distribution: str) -> str | None:
    import importlib.metadata  # 10 ms, which a command does without before its processes have started

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _libzmq_version() -> str | None:
    zmq = sys.modules.get("zmq")  # a learner has it loaded; only sockets import it
    return str(zmq.zmq_version()) if zmq is not None else None
