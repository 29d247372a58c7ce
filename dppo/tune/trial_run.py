"""One training of a trial: a `dppo train` whose curve is watched, and which ends early where it is not worth more."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dppo.fitted_text import fitted
from dppo.local.child_process import ChildProcess
from dppo.local.exit_diagnosis import last_error
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.lifeline import Lifeline
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import dump_yaml
from dppo.tune.fleet import Place
from dppo.tune.objective import Curve, read_curve

LOOK_SECONDS = 0.5
LONELY_LOOKS = 60  # without an update, before a search with standing actors says that it waits for them
END_SECONDS = 30.0  # of a run that is ended early


class Interrupted(Exception):
    """The user has ended the search."""


def train(
    config: TrainConfig,
    directory: Path,
    ended: threading.Event,
    is_hopeless: Callable[[Curve], bool],
    place: Place | None = None,
) -> list[tuple[int, float]]:
    """Train in that directory, anew; return the curve.

    ended: set where the user ends the search. is_hopeless: asked with the curve so far. place: where standing actors
    join; None: the run starts its own. Raises UsageError where the settings are refused, DppoError where it fails,
    Interrupted.
    """
    shutil.rmtree(directory, ignore_errors=True)  # of a search that was killed here
    with tempfile.TemporaryDirectory(prefix="dppo-tune-") as private, Lifeline() as lifeline:
        file, log = Path(private, "config.yaml"), Path(private, "output")
        file.write_text(dump_yaml(config), encoding="utf-8")
        command = ["-m", "dppo.cli", "train" if place is None else "learner", "--config", str(file), "--preset", "none"]
        command += [] if place is None else place.arguments
        command += ["--run.directory", str(directory), "--seed", str(config.learner.run.seed)]
        command += ["--evaluation-episodes", "0"]  # variables would win over the file
        with log.open("wb") as output:
            process = ChildProcess(command, lifeline, stdout=output, stderr=output, is_command=True)
        try:
            was_ended = _watch(process, directory, ended, is_hopeless, place)
        finally:
            code = process.end(END_SECONDS)
        if ended.is_set():
            raise Interrupted
        if code and not was_ended:
            text = last_error(log.read_text(encoding="utf-8", errors="replace")) or how_it_ended(code)
            raise (UsageError if code == UsageError.exit_code else DppoError)(text)
    return read_curve(directory / "metrics.jsonl")


def _watch(
    process: ChildProcess,
    directory: Path,
    ended: threading.Event,
    is_hopeless: Callable[[Curve], bool],
    place: Place | None,
) -> bool:
    """Wait for the run's end; return whether it is to be ended early. Log once that no actor has come."""
    metrics, known, looks = directory / "metrics.jsonl", 0, 0
    while not process.is_over():
        if ended.is_set():
            return True
        time.sleep(LOOK_SECONDS)
        looks += 1
        if place is not None and looks == LONELY_LOOKS and not metrics.exists():
            print(fitted(f"{directory.parent.name} waits for actors at {place.bind}: {place.command}"), flush=True)
        curve = read_curve(metrics)
        if len(curve) > known and is_hopeless(curve):
            return True
        known = len(curve)
    return False
