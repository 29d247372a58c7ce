"""Makes, exports and tries networks of a user's functions before anything is started, in a process of its own.

Usage: python -m dppo.local.network_check, with a Task as MessagePack on standard input.
"""

import subprocess
import sys

import msgspec

from dppo.learner.config import LearnerConfig
from dppo.learner.network_config import NetworkConfig
from dppo.learner.own_code import find_function
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.interpreter import SAFE_PATH, append_working_directory
from dppo.protocol.specs import Spec

ERROR = "dppo: error: "
MOST_SECONDS = 120.0


class Task(msgspec.Struct, frozen=True):
    """Networks to try."""

    network: NetworkConfig
    seed: int
    spec: Spec | None  # None where only names are looked for


def check_networks(config: LearnerConfig, spec: Spec | None) -> None:
    """Raise UsageError, in one line, where a process of ours could not train and export these networks.

    spec: of the environment; None to look only whether the functions are there.
    """
    task = msgspec.msgpack.encode(Task(config.network, config.run.seed, spec))
    names = ", ".join(f"{setting}={name}" for setting, name in config.network.own_code.items())
    command = [sys.executable, SAFE_PATH, "-m", "dppo.local.network_check"]
    try:
        ended = subprocess.run(command, input=task, capture_output=True, timeout=MOST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"{names}: making and exporting it takes more than {MOST_SECONDS:g} s") from None
    if ended.returncode:
        lines = ended.stderr.decode(errors="replace").splitlines()
        errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
        raise UsageError(errors[-1] if errors else f"{names}: making and exporting it {how_it_ended(ended.returncode)}")


def main(text: bytes) -> int:
    """Try them; returns the exit code."""
    append_working_directory()
    task = msgspec.msgpack.decode(text, type=Task)
    try:
        _try(task)
    except DppoError as error:
        print(f"{ERROR}{' '.join(str(error).split())}", file=sys.stderr)
        return UsageError.exit_code
    return 0


def _try(task: Task) -> None:
    for setting, name in task.network.own_code.items():
        find_function(setting, name)  # first: what follows imports torch
    from dppo.learner.models.building import build_networks
    from dppo.learner.models.graph_check import check_export
    from dppo.learner.models.onnx_export import PolicyExporter

    if task.spec is not None:
        policy, _ = build_networks(task.spec, task.network, task.seed)
        check_export(PolicyExporter(policy, task.spec), policy, task.spec)


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer.read()))
