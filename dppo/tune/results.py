"""Results of a search: the best settings as YAML, a picture of all trials, records. Writes files; decides nothing."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from dppo.figures import new_figure
from dppo.learner.atomic_files import replace_file
from dppo.local.run_comparison import may_change
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import values_of
from dppo.tune.search_space import Parameter

BEST = "best.yaml"
TRIALS = "trials.json"
PICTURE = "trials.png"
KEPT = ("run.target_return",)  # of what says where and how long a run works, which is no result of a search
COLUMNS = 3
COMPLETE, PRUNED = "tab:blue", "0.7"


def write_best(folder: Path, settings: Mapping[str, Any], head: Sequence[str]) -> Path:
    """Write what is not a default as a file for `dppo train --config`; head: lines of comment above it."""
    defaults, left_out = values_of(TrainConfig()), {*may_change(TrainConfig), "run.seed"}
    sections: dict[str, dict[str, Any]] = {"": {}, "env": {"id": settings["env.id"]}}
    for path, value in settings.items():
        section, _, name = path.rpartition(".")
        if (path not in left_out or path in KEPT) and value != defaults[path]:
            sections.setdefault(section, {})[name] = value
    lines = [f"# {line}" for line in head]
    for section, values in sections.items():
        lines += [f"{section}:"] if section else []
        lines += [f"{'  ' if section else ''}{name}: {json.dumps(value)}" for name, value in values.items()]
    file = folder / BEST
    replace_file(file, ("\n".join(lines) + "\n").encode())
    return file


def write_trials(folder: Path, trials: Sequence[optuna.trial.FrozenTrial]) -> Path:
    """Write a record of each trial: number, state, value, settings, returns by share of the steps."""
    records = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value if trial.state is TrialState.COMPLETE else None,  # else Optuna's last one of a part
            "settings": trial.params,
            "returns": trial.intermediate_values,
            "why": trial.user_attrs.get("why", ""),
        }
        for trial in trials
    ]
    path = folder / TRIALS
    replace_file(path, json.dumps(records, indent=1).encode())
    return path


def draw_trials(
    folder: Path, trials: Sequence[optuna.trial.FrozenTrial], space: Sequence[Parameter], objective: str
) -> Path | None:
    """Draw values by number with the best so far, and by each setting; None without a value."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not complete:
        return None
    rows = -(-(len(space) + 1) // COLUMNS)
    figure = new_figure(figsize=(4.0 * COLUMNS, 2.8 * rows), layout="constrained")
    grid = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    values = [trial.value or 0.0 for trial in complete]
    best = [max(values[: place + 1]) for place in range(len(values))]
    numbers = [trial.number for trial in complete]
    grid[0].plot(numbers, best, color="0.4", linewidth=1, label="best so far")
    grid[0].scatter(numbers, values, s=12, color=COMPLETE)
    grid[0].set_title("trial", fontsize="small")
    grid[0].legend(fontsize="x-small")
    for axes, parameter in zip(grid[1:], space, strict=False):
        chosen = [trial.params[parameter.path] for trial in complete]
        axes.scatter([str(value) for value in chosen] if parameter.choices else chosen, values, s=12, color=COMPLETE)
        if parameter.log:
            axes.set_xscale("log")
        axes.set_title(parameter.path, fontsize="small")
        axes.tick_params(labelsize="x-small")
    for axes in grid[len(space) + 1 :]:
        axes.set_visible(False)
    figure.supylabel(f"{objective} return", fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    path = folder / PICTURE
    replace_file(path, picture.getvalue())
    return path
