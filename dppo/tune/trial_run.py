"""One training of a trial: a `dppo train` whose curve is watched, and which ends early where it is not worth more."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dppo.local.child_process import ChildProcess
from dppo.local.exit_diagnosis import last_error
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.lifeline import Lifeline
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import dump_yaml
from dppo.tune.objective import Curve, read_curve

LOOK_SECONDS = 0.5
END_SECONDS = 30.0  # of a run that is ended early


class Interrupted(Exception):
    """The user has ended the search."""


def train(
    config: TrainConfig, directory: Path, ended: threading.Event, is_hopeless: Callable[[Curve], bool]
) -> list[tuple[int, float]]:
    """Train in that directory, anew; return the curve.

    ended: set where the user ends the search. is_hopeless: asked with the curve so far. Raises UsageError where the
    settings are refused, DppoError where it fails, Interrupted.
    """
    shutil.rmtree(directory, ignore_errors=True)  # of a search that was killed here
    with tempfile.TemporaryDirectory(prefix="dppo-tune-") as private, Lifeline() as lifeline:
        file, log = Path(private, "config.yaml"), Path(private, "output")
        file.write_text(dump_yaml(config), encoding="utf-8")
        command = ["-m", "dppo.cli", "train", "--config", str(file), "--preset", "none"]
        command += ["--run.directory", str(directory), "--seed", str(config.learner.run.seed)]
        command += ["--evaluation-episodes", "0"]  # variables would win over the file
        with log.open("wb") as output:
            process = ChildProcess(command, lifeline, stdout=output, stderr=output, is_command=True)
        try:
            was_ended = _watch(process, directory / "metrics.jsonl", ended, is_hopeless)
        finally:
            code = process.end(END_SECONDS)
        if ended.is_set():
            raise Interrupted
        if code and not was_ended:
            text = last_error(log.read_text(encoding="utf-8", errors="replace")) or how_it_ended(code)
            raise (UsageError if code == UsageError.exit_code else DppoError)(text)
    return read_curve(directory / "metrics.jsonl")


def _watch(process: ChildProcess, metrics: Path, ended: threading.Event, is_hopeless: Callable[[Curve], bool]) -> bool:
    """Wait for the run's end; return whether it is to be ended early."""
    known = 0
    while not process.is_over():
        if ended.is_set():
            return True
        time.sleep(LOOK_SECONDS)
        curve = read_curve(metrics)
        if len(curve) > known and is_hopeless(curve):
            return True
        known = len(curve)
    return False
