"""Makes, exports and tries networks of a user's functions before anything is started, in a process of its own.

Usage: python -m dppo.local.network_check, with two Tasks as MessagePack on standard input: a length and the first one,
whose names are looked for at once, and the second.
"""

import logging
import sys
from contextlib import closing
from pathlib import Path
from typing import IO

import msgspec

from dppo.learner.config import LearnerConfig, PpoConfig
from dppo.learner.network_config import NetworkConfig
from dppo.learner.numerics import own_numerics
from dppo.learner.own_code import find_function
from dppo.learner.storage.network_record import load_same
from dppo.local.own_code_check import CheckElsewhere, checked
from dppo.protocol.specs import Spec

ARGUMENTS = ("-m", "dppo.local.network_check")
MOST_SECONDS = 120.0
LENGTH_BYTES = 8
_ENCODER = msgspec.msgpack.Encoder()

log = logging.getLogger("dppo.learner")


class Task(msgspec.Struct, frozen=True):
    """Networks to try."""

    network: NetworkConfig
    seed: int
    spec: Spec | None  # None where only names are looked for
    ppo: PpoConfig = PpoConfig()
    directory: str = ""  # of the run, which may have checkpoints; "" for none


class NetworkTrial:
    """The process that tries networks: it imports what it takes while the environment is made elsewhere."""

    def __init__(self, config: LearnerConfig) -> None:
        self._config = config
        self._check = CheckElsewhere(ARGUMENTS)
        first = _ENCODER.encode(Task(config.network, config.run.seed, None))
        self._check.give(len(first).to_bytes(LENGTH_BYTES, "big") + first)

    def finish(self, spec: Spec | None) -> None:
        """Raise UsageError, in one line, where a process of ours could not train and export these networks.

        spec: of the environment; None to look only whether the functions are there.
        """
        config = self._config
        directory = str(config.run_directory.absolute())
        task = _ENCODER.encode(Task(config.network, config.run.seed, spec, config.ppo, directory))
        names = ", ".join(f"{setting}={name}" for setting, name in config.network.own_code.items())
        self._check.finish(f"{names}: making and exporting it", seconds=MOST_SECONDS, task=task)

    def close(self) -> None:
        """End the process, if it is not over."""
        self._check.close()


def check_networks(config: LearnerConfig, spec: Spec | None) -> None:
    """Try them, and raise as `NetworkTrial.finish` does."""
    with closing(NetworkTrial(config)) as trial:
        trial.finish(spec)


def main(text: bytes) -> int:
    """Try them; returns the exit code."""
    return checked(lambda: _try(msgspec.msgpack.decode(text, type=Task)))


def _try(task: Task) -> None:
    for setting, name in task.network.own_code.items():
        find_function(setting, name)  # first: what follows imports torch
    from dppo.learner.ppo.trainer import Trainer
    from dppo.learner.storage.checkpoint import newest

    if task.spec is None:
        return
    with own_numerics():
        trainer = Trainer(task.spec, ppo=task.ppo, network=task.network, seed=task.seed, total_steps=1)
        trainer.check_graph()
    directory = Path(task.directory)
    checkpoint = newest(directory / "checkpoints", log.warning) if task.directory else None
    if checkpoint is not None and checkpoint.state["progress"]["updates"]:
        load_same(trainer, checkpoint, task.network, directory)


def _prepared(source: IO[bytes]) -> int:
    """Look for the names and import what it takes, then do the task that comes after them."""

    def do() -> None:
        size = int.from_bytes(source.read(LENGTH_BYTES), "big")
        _try(msgspec.msgpack.decode(source.read(size), type=Task))
        rest = source.read()
        if rest:
            _try(msgspec.msgpack.decode(rest, type=Task))

    return checked(do)


if __name__ == "__main__":
    sys.exit(_prepared(sys.stdin.buffer))
