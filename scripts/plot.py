"""Learning curves as a picture. Knows metrics.jsonl and matplotlib; knows nothing of training."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from protocol.errors import UsageError

GRID_POINTS = 400
CURVE_FILE = "curve.png"
_FORMATS = (".png", ".svg", ".pdf")
_X_LABELS = {"steps": "environment steps", "time": "seconds since the run began"}


@dataclass(frozen=True)
class Curve:
    """The learning curve of one run."""

    env: str
    steps: np.ndarray  # [updates], trained so far
    seconds: np.ndarray  # [updates], of the run, start-up included; a resumed run goes on from where it was
    returns: np.ndarray  # [updates], mean of the last training episodes
    target: float | None

    def x(self, axis: Literal["steps", "time"]) -> np.ndarray:
        """[updates], rising."""
        return self.steps if axis == "steps" else self.seconds


def plot(runs: Sequence[str], output: str = "", *, x: Literal["steps", "time"] = "steps") -> Path:
    """Draw the runs' curves, one colour an environment; return the file written. Raises UsageError.

    Several runs of an environment become their median and the band from the worst to the best one.
    """
    path = Path(output) if output else Path(runs[0]) / CURVE_FILE
    if path.suffix not in _FORMATS:
        raise UsageError(f"output {path} has no known picture format: choose a name that ends in .png, .svg or .pdf")
    curves = [read_curve(Path(run)) for run in runs]
    import matplotlib  # slow to import, so only when there is something to draw

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    try:
        _draw(axes, curves, x)
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        pyplot.close(figure)
    return path


def read_curve(run: Path) -> Curve:
    """The curve of a run directory; updates before the first ended episode are left out. Raises UsageError."""
    file = run / "metrics.jsonl"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}. Give a run directory such as runs/CartPole-v1"
        ) from None
    rows = [row for row in map(_row, lines) if row is not None and row.get("mean_return") is not None]
    if not rows:
        raise UsageError(f"{file} has no update with a mean return yet: there is nothing to draw")
    return Curve(
        env=_env_of(run),
        steps=np.array([row["steps"] for row in rows], float),
        seconds=np.maximum.accumulate([float(row["elapsed_seconds"]) for row in rows]),
        returns=np.array([row["mean_return"] for row in rows], float),
        target=rows[-1].get("target_return"),
    )


def band(
    curves: Sequence[Curve], axis: Literal["steps", "time"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, lowest, median and highest return [points], each run interpolated, over the range that at least half reach.

    A run that ended (it was solved) counts with its last value from there on.
    """
    xs = [curve.x(axis) for curve in curves]
    grid = np.linspace(max(x[0] for x in xs), float(np.median([x[-1] for x in xs])), GRID_POINTS)
    values = np.array([np.interp(grid, x, curve.returns) for x, curve in zip(xs, curves, strict=True)])
    return grid, values.min(axis=0), np.median(values, axis=0), values.max(axis=0)


def _draw(axes: Any, curves: Sequence[Curve], axis: Literal["steps", "time"]) -> None:
    by_env: dict[str, list[Curve]] = {}
    for curve in curves:
        by_env.setdefault(curve.env, []).append(curve)
    for index, (env, group) in enumerate(by_env.items()):
        colour = f"C{index}"
        if len(group) == 1:
            axes.plot(group[0].x(axis), group[0].returns, color=colour, linewidth=2, label=env)
        else:
            for curve in group:
                axes.plot(curve.x(axis), curve.returns, color=colour, linewidth=0.7, alpha=0.35)
            grid, low, median, high = band(group, axis)
            axes.fill_between(grid, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(grid, median, color=colour, linewidth=2, label=f"{env}, median of {len(group)} runs")
        targets = {curve.target for curve in group if curve.target is not None}
        for target in sorted(targets):
            name = f"target {target:g}" if len(by_env) == 1 else f"target {target:g} ({env})"
            axes.axhline(target, color=colour, linestyle="--", linewidth=1, alpha=0.8, label=name)
    axes.set_xlabel(_X_LABELS[axis])
    axes.set_ylabel("mean return of recent training episodes")
    axes.set_title(", ".join(by_env))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)


def _row(line: str) -> dict[str, Any] | None:
    """One update; None for the torn last line of a run that is being written or was killed."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"steps", "elapsed_seconds"} <= set(row) else None


def _env_of(run: Path) -> str:
    """The environment's id out of config.yaml, or the directory's name for a run without one."""
    if not (run / "config.yaml").is_file():
        return run.name
    from scripts.config import TrainConfig
    from scripts.settings import load_config_file

    return str(load_config_file(run / "config.yaml", TrainConfig).get("env.id", run.name))
