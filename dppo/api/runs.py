"""`dppo.runs` and `dppo.plot`: the runs in a folder, and their learning curves. Knows run directories."""

import datetime
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dppo.api.evaluation import checked
from dppo.api.paths import path_text
from dppo.api.wording import python_words
from dppo.learner.telemetry.json_lines import read_object
from dppo.learner.telemetry.status import SUMMARY
from dppo.protocol.errors import UsageError
from dppo.settings.commands import PlotArguments
from dppo.watch.run_list import ROOT, FoundRun, State, find_runs

if TYPE_CHECKING:
    from dppo.api.policy import Policy

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class RunRecord:
    """A run that there is."""

    directory: Path
    env: str  # "" where it is not known
    state: State  # "running", "finished", "stopped" (by a hook), "failed", "interrupted" or "without a policy"
    changed: datetime.datetime  # its newest file; in UTC
    steps: int | None  # the following as of its newest summary; None where there is none
    updates: int | None
    mean_return: float | None  # None also where no episode had ended

    def load_policy(self, *, best: bool = False, seed: int | None = None) -> "Policy":
        """Load the policy of the run's directory, as dppo.load_policy does."""
        from dppo.api.policy import load_policy

        return load_policy(self.directory, best=best, seed=seed)

    def __fspath__(self) -> str:
        return str(self.directory)


@python_words()
def runs(folder: str | os.PathLike[str] = ROOT) -> list[RunRecord]:
    """Return the runs in a folder and the folders in it, newest first. Raises UsageError where there is no such folder.

    The default is ./runs, which the first run makes: none is there before.
    """
    path = Path(path_text(folder, "folder", "the folder that runs are in, as text or pathlib.Path"))
    if path != ROOT and not os.path.isdir(path):  # False also for a name that is too long
        raise UsageError(f"there is no folder {path}: give the one that runs are in, such as {ROOT}")
    return [_record(found) for found in find_runs(path)]


@python_words()
def plot(
    *runs: str | os.PathLike[str],
    output: str | os.PathLike[str] = "",
    x: Literal["steps", "time", "both"] = "steps",
    y: str = "return",
) -> Path:
    """Draw the learning curves of runs, seeds as median and band, and return the picture's file.

    runs: run directories, "LABEL=PATH", patterns, or what dppo.train and dppo.runs return. output: .png, .svg or .pdf;
    "": curve.png in the run, or curves.png in the working directory where several are named. x: "both" draws two panels
    side by side. y: "return", "length", "success", a name out of run.metrics and run.step_metrics, or another number of
    metrics.jsonl. Needs matplotlib. Raises UsageError where there is nothing to draw.
    """
    given: dict[str, Any] = {
        "runs": tuple(path_text(run, "run") for run in runs),
        "output": path_text(output, "output"),
        "x": x,
        "y": y,
    }
    if not runs:
        raise UsageError("dppo.plot: runs are missing: give run directories such as runs/CartPole-v1")
    chosen = PlotArguments(**checked(PlotArguments, given, "dppo.plot"))
    from dppo.watch.plot import plot as draw

    return draw(chosen.runs, chosen.output, x=chosen.x, y=chosen.y)


def _record(found: FoundRun) -> RunRecord:
    summary = read_object(found.path / SUMMARY)
    return RunRecord(
        directory=found.path,
        env=found.env,
        state=found.state,
        changed=datetime.datetime.fromtimestamp(found.changed, datetime.UTC),
        steps=_number(summary.get("steps"), int),
        updates=_number(summary.get("updates"), int),
        mean_return=_number(summary.get("mean_return"), float),
    )


def _number(value: object, kind: type[Number]) -> Number | None:
    """Return the number in a file that may have been edited; None where there is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return kind(value)
