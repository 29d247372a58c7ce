"""Services that keep curves of many runs: Weights & Biases, MLflow, trackio, or a class of the user's.

Each is told the settings at the start, the curves of every update, and the end. Packages are imported when a run begins
to write. Knows the packages' functions; knows no training and no thread.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dppo.learner.own_code import check_method, find_by_name
from dppo.protocol.errors import UsageError

METHODS = {"begin": ("run",), "log": ("steps", "values"), "end": ()}  # of a tracker, and what each is called with


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker is told it."""

    project: str
    name: str  # of the run's directory
    directory: Path
    settings: Mapping[str, Any]  # by path
    known_as: str  # what `begin` returned when the run was begun; "" for a new one


class Tracker(Protocol):
    """A service. Its methods are called by one thread, and may take their time or raise."""

    def begin(self, run: TrackedRun) -> str:
        """Begin, or go on with, a run; returns what it is known by when it goes on another day."""

    def log(self, steps: int, values: Mapping[str, float]) -> None:
        """Take the curves of an update: finite values by tag."""

    def end(self) -> None:
        """Send what is left."""


class Wandb:
    """Weights & Biases. Its own variables decide where to: WANDB_MODE=offline keeps all in the run directory."""

    def begin(self, run: TrackedRun) -> str:
        """Begin a run, or go on with it."""
        import wandb

        self._run: Any = wandb.init(
            project=run.project,
            name=run.name,
            id=run.known_as or None,
            resume="allow",
            dir=run.directory,
            config=dict(run.settings),
        )
        return str(self._run.id)

    def log(self, steps: int, values: Mapping[str, float]) -> None:
        """Log by steps."""
        self._run.log(dict(values), step=steps)

    def end(self) -> None:
        """Finish the run."""
        self._run.finish()


class Mlflow:
    """MLflow. MLFLOW_TRACKING_URI decides where to; without it all is kept in mlflow.db beside the run directory."""

    def begin(self, run: TrackedRun) -> str:
        """Begin a run, or go on with it."""
        import mlflow

        self._mlflow: Any = mlflow
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri(f"sqlite:///{run.directory.absolute().parent / 'mlflow.db'}")
        mlflow.set_experiment(run.project)
        started = mlflow.start_run(run_id=run.known_as or None, run_name=run.name)
        if not run.known_as:
            mlflow.log_params({path: str(value)[:500] for path, value in run.settings.items()})
        return str(started.info.run_id)

    def log(self, steps: int, values: Mapping[str, float]) -> None:
        """Log by steps."""
        self._mlflow.log_metrics(dict(values), step=steps)

    def end(self) -> None:
        """End the run."""
        self._mlflow.end_run()


class Trackio:
    """trackio (of Hugging Face), which keeps all on this machine; TRACKIO_DIR decides where."""

    def begin(self, run: TrackedRun) -> str:
        """Begin a run, or go on with it, by its name."""
        import trackio

        name = run.known_as or run.name
        settings = {
            path: value if isinstance(value, int | float | bool) else str(value) for path, value in run.settings.items()
        }
        self._trackio: Any = trackio
        trackio.init(project=run.project, name=name, resume="allow", config=settings, embed=False)
        return name

    def log(self, steps: int, values: Mapping[str, float]) -> None:
        """Log by steps."""
        self._trackio.log(dict(values), step=steps)

    def end(self) -> None:
        """Finish the run."""
        self._trackio.finish()


SERVICES: dict[str, Callable[[], Tracker]] = {"wandb": Wandb, "mlflow": Mlflow, "trackio": Trackio}


def make_tracker(name: str) -> Tracker:
    """Make the tracker of a setting: a service by name, or the user's own, as module:Class. Raises UsageError."""
    return SERVICES[name]() if name in SERVICES else find_tracker(name)()


def find_tracker(name: str) -> Callable[[], Tracker]:
    """Return the class of a user's tracker, as module:Class. Raises UsageError without one, or without a method."""
    what = f"run.trackers={name}"
    found = find_by_name("run.trackers", name, lambda value: callable(getattr(value, "log", None)))
    if not callable(found):
        raise UsageError(f"{what} is a {type(found).__name__}: name a class that is made without arguments")
    for method, arguments in METHODS.items():
        if not callable(getattr(found, method, None)):
            raise UsageError(f"{what} has no method {method}(): write one (docs/trackers.md)")
        check_method(found, method, arguments, what)
    kind: Callable[[], Tracker] = found
    return kind
