"""Makes, exports and tries networks of a user's functions before anything is started, in a process of its own.

Usage: python -m dppo.local.network_check, with a Task as MessagePack on standard input.
"""

import sys

import msgspec

from dppo.learner.config import LearnerConfig
from dppo.learner.network_config import NetworkConfig
from dppo.learner.own_code import find_function
from dppo.local.own_code_check import check_elsewhere, checked
from dppo.protocol.specs import Spec

ARGUMENTS = ("-m", "dppo.local.network_check")
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
    check_elsewhere(ARGUMENTS, f"{names}: making and exporting it", seconds=MOST_SECONDS, task=task)


def main(text: bytes) -> int:
    """Try them; returns the exit code."""
    return checked(lambda: _try(msgspec.msgpack.decode(text, type=Task)))


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
