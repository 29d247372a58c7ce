"""The process of a run that `dppo.train` has started: -m dppo.api.training_process FD.

A process of its own, so that signals, children and the working directory of the caller's stay the caller's. It reads
all settings and texts from standard input, and writes how the run ended to FD, as one line of JSON.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from dppo.local.interrupts import interrupt_between_imports
from dppo.local.launch_texts import LaunchTexts
from dppo.local.process_end import leave, use_utf8
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.household import leaves_nothing
from dppo.protocol.process.interpreter import append_working_directory
from dppo.protocol.process.lifeline import watch_parent
from dppo.protocol.process.machine_trouble import trouble
from dppo.required_packages import missing_text
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build
from dppo.settings.layers import read_tree

GRACE_SECONDS = 25.0  # for the processes of a killed run to end by themselves, with a checkpoint
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run to the end, and write how that was; returns the exit code."""
    append_working_directory()
    watch_parent()
    descriptor = int(arguments[0])
    os.set_inheritable(descriptor, False)
    code, error = _train(sys.stdin.buffer.read())
    sys.stdout.flush()
    os.write(descriptor, json.dumps({"code": code, **error}).encode() + b"\n")
    return code


def _train(given: bytes) -> tuple[int, dict[str, Any]]:
    """Return the exit code, and what was raised as {"kind", "error"}."""
    try:
        with leaves_nothing(GRACE_SECONDS, sweeper=True):
            from dppo.local.train import run

            call = json.loads(given)
            config = build(TrainConfig, read_tree(call["settings"], TrainConfig, "settings"))
            return run(config, texts=LaunchTexts(**call["texts"])), {}
    except DppoError as error:
        return error.exit_code, {"kind": type(error).__name__, "error": str(error)}
    except KeyboardInterrupt:
        return INTERRUPTED, {}
    except ModuleNotFoundError as error:
        text = missing_text(error.name or "")
        if not text:
            raise
        return UsageError.exit_code, {"kind": UsageError.__name__, "error": text}
    except Exception as error:
        text = trouble(error)
        if not text:
            raise
        return DppoError.exit_code, {"kind": DppoError.__name__, "error": text}


if __name__ == "__main__":
    use_utf8()
    interrupt_between_imports()
    leave(main(sys.argv[1:]))
