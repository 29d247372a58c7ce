"""Learning curves as a picture, one panel an environment. Knows curves and matplotlib; knows no files of a run."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dppo.figures import new_figure
from dppo.fitted_text import fitted
from dppo.learner.atomic_files import replace_file
from dppo.protocol.errors import UsageError
from dppo.watch.curves import Curve, XAxes, XAxis, YAxis, read_curves
from dppo.watch.series import Series, series_of, told_apart

GRID_POINTS = 400
CURVE_FILE = "curve.png"
CURVES_FILE = "curves.png"  # of several runs
PANELS_A_ROW = 3
_FORMATS = (".png", ".svg", ".pdf")
_X_LABELS: dict[XAxis, str] = {"steps": "environment steps", "time": "seconds since the run began"}
_Y_LABELS: dict[YAxis, str] = {
    "return": "mean return of recent training episodes",
    "length": "mean length of recent training episodes",
    "success": "recent training episodes that succeeded",
}


def plot(
    runs: Sequence[str],
    output: str = "",
    *,
    x: XAxes = "steps",
    y: YAxis = "return",
    note: Callable[[str], None] = print,
) -> Path:
    """Draw what read_curves finds: a panel an environment, two with x="both"; a colour a series. Return the file.

    Several runs of a series become their median and the band from the worst to the best one. Runs of different settings
    are never one series; where they would have been by their label, `note` gets a line. Raises UsageError.
    """
    path = Path(output) if output else _default_output(runs)
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"output {path} has no known picture format: choose a name that ends in .png, .svg or .pdf")
    if path.is_dir():
        raise UsageError(f"output {path} is a directory: choose the name of a file")
    by_env: dict[str, list[Curve]] = {}
    for curve in read_curves(runs, y):
        by_env.setdefault(curve.env, []).append(curve)
    panels = {env: series_of(curves) for env, curves in by_env.items()}
    for line in told_apart(panels):
        note(fitted(line))
    axes_of_x: tuple[XAxis, ...] = ("steps", "time") if x == "both" else (x,)
    cells = [(env, series, axis) for env, series in panels.items() for axis in axes_of_x]
    columns = len(axes_of_x) if x == "both" else min(len(cells), PANELS_A_ROW)
    rows = -(-len(cells) // columns)
    size = (8.0, 4.5) if len(cells) == 1 else (5.2 * columns, 3.9 * rows)
    figure = new_figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row" if x == "both" else False)
    try:
        names = list(dict.fromkeys(group.name for series in panels.values() for group in series))
        for axes, (env, series, axis) in zip(grid.flat, cells, strict=False):
            _draw(axes, series, names, axis)
            _dress(axes, env, axis, y)
            if x == "both":
                axes.set_xlabel(_X_LABELS[axis])
        for axes in grid.flat[len(cells) :]:
            axes.set_visible(False)
        if x != "both":
            figure.supxlabel(_X_LABELS[x], fontsize="medium")
        figure.supylabel(_Y_LABELS.get(y, y), fontsize="medium")
        picture = io.BytesIO()
        figure.savefig(picture, format=path.suffix[1:].lower(), dpi=150)
        replace_file(path, picture.getvalue())  # no symbolic link is followed
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def band(curves: Sequence[Curve], axis: XAxis) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, lowest, median and highest value [points], each run interpolated, over the range that at least half reach.

    A run that ended (it was solved) counts with its last value from there on.
    """
    xs = [curve.x(axis) for curve in curves]
    grid = np.linspace(max(x[0] for x in xs), float(np.median([x[-1] for x in xs])), GRID_POINTS)
    values = np.array([np.interp(grid, x, curve.values) for x, curve in zip(xs, curves, strict=True)])
    return grid, values.min(axis=0), np.median(values, axis=0), values.max(axis=0)


def _default_output(runs: Sequence[str]) -> Path:
    """Return curve.png in the run where one is named, else curves.png here: a run keeps the picture of its own."""
    if len(runs) == 1 and Path(runs[0]).is_dir():
        return Path(runs[0]) / CURVE_FILE
    return Path(CURVES_FILE)


def _draw(axes: Any, panel: Sequence[Series], names: Sequence[str], axis: XAxis) -> None:
    for series in panel:
        label, group = series.name, series.curves
        colour = f"C{names.index(label)}"
        if len(group) == 1:
            grid, median = group[0].x(axis), group[0].values
            shown = label or group[0].name
        else:
            for curve in group:
                axes.plot(curve.x(axis), curve.values, color=colour, linewidth=0.7, alpha=0.35)
            grid, low, median, high = band(group, axis)
            axes.fill_between(grid, low, high, color=colour, alpha=0.15, linewidth=0)
            shown = f"{label}{', ' if label else ''}median of {len(group)} runs"
        axes.plot(grid, median, color=colour, linewidth=2, label=shown)
        axes.plot(grid[-1:], median[-1:], color=colour, marker="o", markersize=4)  # it ends here, and not out of sight
        for target in sorted({curve.target for curve in group if curve.target is not None}):
            style = {"color": "0.45", "linestyle": "--", "linewidth": 1}
            if not any(line.get_label() == f"target {target:g}" for line in axes.lines):
                axes.axhline(target, label=f"target {target:g}", **style)


def _dress(axes: Any, env: str, x: XAxis, y: YAxis) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

    axes.set_title(env)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    if x == "steps":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if y == "success":
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", frameon=False)
