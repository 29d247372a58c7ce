"""Learning curves out of files: metrics.jsonl of our runs, JSON of `dppo bench preset` and of the original tutorial.

Knows files and numbers; knows no picture.
"""

import glob
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dppo.learner.telemetry.json_lines import json_objects
from dppo.learner.telemetry.metrics import METRICS_FILE
from dppo.learner.telemetry.status import OWN_METRICS
from dppo.local.run_comparison import SEED_DIRECTORY
from dppo.protocol.errors import UsageError
from dppo.settings.fields import nearest
from dppo.watch.run_list import meant

XAxis = Literal["steps", "time"]
XAxes = Literal["steps", "time", "both"]
YAxis = str  # return, length, success; a metric of the user's own; or another number of metrics.jsonl

WINDOW_EPISODES = 100  # of the means, as run.return_window has it
CUT_SHORT_STEPS = 16  # the tutorial's four threads end within so many steps of each other
_PLACES = ("update", "steps", "elapsed_seconds")  # in a line of metrics.jsonl: no values to draw
_KEYS: dict[YAxis, str] = {"return": "mean_return", "length": "mean_length", "success": "success_rate"}
_NOT_REPORTED: dict[YAxis, str] = {"success": ": no environment reported whether an episode succeeded"}


@dataclass(frozen=True)
class Curve:
    """One run: a mean over its last training episodes, as it went on."""

    env: str  # id and keyword arguments; "" where the file does not say
    name: str  # of the file or directory
    label: str  # of the series that it belongs to; "" for none
    steps: np.ndarray  # [points], trained so far
    seconds: np.ndarray  # [points], of the run, start-up included; a resumed run goes on from where it was
    values: np.ndarray  # [points]
    target: float | None  # mean return that counts as solved
    settings: Mapping[str, Any] | None = None  # by which runs are told apart; None: not known

    def x(self, axis: XAxis) -> np.ndarray:
        """[points], rising."""
        return self.steps if axis == "steps" else self.seconds


def read_curves(arguments: Sequence[str], y: YAxis) -> list[Curve]:
    """The curves that arguments PATH or LABEL=PATH name; a PATH may be a pattern such as runs/Pendulum-*.

    Where only one environment is named, curves that do not say theirs are taken to be of that one. Raises UsageError.
    """
    curves = [curve for label, path in _named_paths(arguments) for curve in _read(path, y, label)]
    known = {curve.env for curve in curves if curve.env}
    default = known.pop() if len(known) == 1 else ""
    return [
        Curve(
            **{**vars(curve), "env": curve.env or default or curve.label or curve.name}
        )  # vars: arrays are not copied
        for curve in curves
    ]


def _read(path: Path, y: YAxis, label: str) -> list[Curve]:
    """Read the curves of a run, of a file of `dppo bench preset` (one a seed), or of one of the tutorial's."""
    if path.suffix != ".json":
        curves = [_run_curve(path, y, label)]
    else:
        content = _json(path)
        benched = content.get("bench") == "preset"
        if not benched and y not in _KEYS:
            raise UsageError(f"{path}: there is no {y} in it: choose {', '.join(_KEYS)}")
        curves = _bench_curves(path, content, y, label) if benched else [_tutorial_curve(path, content, y, label)]
    if not all(len(curve.values) for curve in curves):
        why = _NOT_REPORTED.get(y, "" if y in _KEYS else ": no update has a number of it")
        raise UsageError(f"{path} has no mean {y} yet{why}: there is nothing to draw")
    return curves


def _named_paths(arguments: Sequence[str]) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for argument in arguments:
        label, equals, pattern = argument.partition("=")
        if os.path.exists(argument) or not equals:
            label, pattern = "", argument
        # a folder may have such a name itself: run[1]
        matches = [pattern] if os.path.exists(pattern) or not glob.has_magic(pattern) else _matches(pattern)
        if not matches:
            raise UsageError(f"nothing matches {pattern}: give run directories such as runs/CartPole-v1")
        found += [(label, path) for match in matches for path in _runs_of(Path(match))]
    return found


def _matches(pattern: str) -> list[str]:
    """Directories of that pattern; where there are none, files with curves: pictures and logs may stand beside them."""
    matches = sorted(glob.glob(pattern))
    return [path for path in matches if Path(path).is_dir()] or [path for path in matches if path.endswith(".json")]


def _runs_of(path: Path) -> list[Path]:
    """The path itself, or the runs of all seeds where it is the folder of several."""
    if (path / METRICS_FILE).is_file():
        return [path]
    seeds = [run for run in path.glob(f"{SEED_DIRECTORY}*") if (run / METRICS_FILE).is_file()]
    return sorted(seeds, key=lambda run: (len(run.name), run.name)) or [path]


def _run_curve(run: Path, y: YAxis, label: str) -> Curve:
    """Updates before the first ended episode are left out."""
    file = run / METRICS_FILE
    hint = "Give a run directory such as runs/CartPole-v1" if run.is_dir() else f"There is no {run}{meant(str(run))}"
    rows = json_objects(_bytes(file, hint), ("steps", "elapsed_seconds"))
    target = rows[-1].get("target_return") if rows and y == "return" else None
    if rows and not _key_of(rows, y):
        raise UsageError(f"{run} has no {y}{_what_there_is(rows, y)}")
    curve = _curve_of(rows, y, env=_env_of(run), name=_name_of(run), label=label, target=target)
    if not (run / "config.yaml").is_file():
        return curve
    from dppo.watch.curve_settings import settings_that_matter

    return replace(curve, settings=settings_that_matter(run))


def _name_of(run: Path) -> str:
    of_several = run.name.startswith(SEED_DIRECTORY) and run.parent.name
    return f"{run.parent.name}/{run.name}" if of_several else run.name


def _bench_curves(file: Path, content: dict[str, Any], y: YAxis, label: str) -> list[Curve]:
    try:
        preset, overrides = content.get("preset", file.stem), content.get("overrides", [])
        curves = [
            _curve_of(run["curve"], y, env=run["env"], name=f"{file.stem} seed {run['seed']}", label=label, target=None)
            for run in content["runs"]
        ]
        return [replace(curve, settings={"preset": preset, "overrides": overrides}) for curve in curves]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _no_curve(file, "`dppo bench preset`", error) from None


def _curve_of(
    rows: Sequence[dict[str, Any]], y: YAxis, *, env: str, name: str, label: str, target: float | None
) -> Curve:
    key = _key_of(rows, y)
    rows = [row for row in rows if isinstance(row.get(key), int | float)]
    return Curve(
        env=env,
        name=name,
        label=label,
        steps=np.array([row["steps"] for row in rows], float),
        seconds=np.maximum.accumulate(np.array([row["elapsed_seconds"] for row in rows], float)),
        values=np.array([row[key] for row in rows], float),
        target=target,
    )


def _key_of(rows: Sequence[dict[str, Any]], y: YAxis) -> str:
    """Return the key in rows that y names, the user's own metrics before others; "" where there is none."""
    keys = [_KEYS[y]] if y in _KEYS else [f"{OWN_METRICS}{y}", y]
    known = _known(rows)
    return next((key for key in keys if y in _KEYS or key in known), "")


def _known(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row if key not in _PLACES))


def _what_there_is(rows: Sequence[dict[str, Any]], y: YAxis) -> str:
    """Return what else can be drawn, the nearest first."""
    known = _known(rows)
    own = [key.removeprefix(OWN_METRICS) for key in known if key.startswith(OWN_METRICS)]
    others = sorted(key for key in known if not key.startswith(OWN_METRICS) and key not in _KEYS.values())
    named = f"your metrics {', '.join(own)}" if own else "there are no metrics of your own (run.metrics)"
    return f"{nearest(y, [*_KEYS, *own, *others])}: choose {', '.join(_KEYS)}; {named}; or {', '.join(others)}"


def _env_of(run: Path) -> str:
    """Id, keyword arguments and wrappers out of config.yaml, or the directory's name for a run without one."""
    if not (run / "config.yaml").is_file():
        return run.name
    from dppo.protocol.env_wrappers import parse_wrappers
    from dppo.settings.commands import TrainConfig
    from dppo.settings.layers import load_config_file

    values = load_config_file(run / "config.yaml", TrainConfig)
    kwargs = ", ".join(f"{name} {value}" for name, value in values.get("env.kwargs", {}).items())
    wrappers = ", ".join(wrapper.kind for wrapper in parse_wrappers(values.get("env.wrappers", [])))
    wrapped = f" in {wrappers}" if wrappers else ""
    return f"{values.get('env.id', run.name)}{f' ({kwargs})' if kwargs else ''}{wrapped}"


def _tutorial_curve(file: Path, content: dict[str, Any], y: YAxis, label: str) -> Curve:
    """{"curve": {"env_steps": [...], "wall_s": [...], "ret": [...], "length": [...], "extra": [...]}}, one an episode.

    `extra` of the arm is (ever got the point, has it at the end). Smoothed as our mean return is: over the last 100
    episodes. Those that the program's end cut short are left out. An "env" in the file says which environment it was.
    """
    try:
        columns = content["curve"]
        steps, seconds, lengths = (np.array(columns[name], float) for name in ("env_steps", "wall_s", "length"))
        values = {"return": columns["ret"], "length": lengths, "success": _successes(columns["extra"])}[y]
        values = np.asarray(values, float)
        cut_short = (lengths < lengths.max()) & (steps > steps[-1] - CUT_SHORT_STEPS)
        whole = ~cut_short[: len(values)]
        env = str(content.get("env", ""))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _no_curve(file, "the tutorial", error) from None
    if not len(values):
        whole = np.zeros(0, bool)
        steps, seconds = steps[:0], seconds[:0]
    return Curve(env, file.stem, label, steps[whole], seconds[whole], _means(values[whole]), None)


def _successes(extra: Sequence[Any]) -> list[float]:
    return [float(told[0]) for told in extra] if extra and isinstance(extra[0], list) else []


def _means(values: np.ndarray) -> np.ndarray:
    """[n] of the last WINDOW_EPISODES up to each; of fewer at the start."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - WINDOW_EPISODES)
    means: np.ndarray = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(_bytes(file, "Give a run directory, or a file with a tutorial's curve"))
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}")
    except (ValueError, TypeError) as error:
        raise _no_curve(file, "the tutorial", error) from None
    return content


def _no_curve(file: Path, whose: str, error: Exception) -> UsageError:
    return UsageError(f"{file} is no curve of {whose}: {type(error).__name__} {error}")


def _bytes(file: Path, hint: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}. {hint}") from None
