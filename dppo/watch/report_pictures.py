"""Pictures of a report as SVG: learning curves, and the figures of every update. Knows matplotlib; knows no HTML."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dppo.figures import new_figure

MOST_POINTS = 1_000  # of a line: more cannot be seen
COLUMNS = 3
PANELS: Mapping[str, Sequence[str]] = {  # title: metrics in it
    "KL of an update": ("approx_kl",),
    "rows clipped": ("clip_fraction",),
    "entropy": ("entropy",),
    "std of actions": ("policy_std",),
    "explained variance": ("explained_variance",),
    "value loss": ("value_loss",),
    "gradient norm": ("grad_norm",),
    "learning rate": ("learning_rate",),
    "episode length": ("mean_length",),
    "seconds of an update": ("collect_seconds", "update_seconds", "stop_seconds", "policy_seconds"),
    "steps a second": ("steps_per_second",),
}
LABELS = {"collect_seconds": "collect", "update_seconds": "update", "stop_seconds": "stop", "policy_seconds": "publish"}


def returns_picture(rows: Sequence[Mapping[str, Any]], target: float | None) -> str:
    """Return mean returns by steps and, beside them, by time; "" where no episode has ended."""
    wanted = ("steps", "elapsed_seconds", "mean_return")
    known = thinned([row for row in rows if all(is_number(row.get(name)) for name in wanted)])
    if not known:
        return ""
    figure = new_figure(figsize=(10.0, 3.4), layout="constrained")
    from matplotlib.ticker import EngFormatter

    axes = figure.subplots(1, 2, sharey=True)
    for panel, (key, label) in zip(axes, (("steps", "environment steps"), ("elapsed_seconds", "seconds")), strict=True):
        panel.plot([row[key] for row in known], [row["mean_return"] for row in known])
        if target is not None:
            panel.axhline(target, color="0.6", linestyle="--", linewidth=1)
        panel.set_xlabel(label)
        panel.grid(alpha=0.3)
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[0].set_ylabel("mean return")
    return _svg(figure)


def updates_picture(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return small panels of what each update reported; what it did not is left out."""
    rows = thinned(rows)
    panels = {
        title: [name for name in names if any(is_number(row.get(name)) for row in rows)]
        for title, names in PANELS.items()
    }
    panels = {title: names for title, names in panels.items() if names}
    if not panels:
        return ""
    lines = -(-len(panels) // COLUMNS)
    figure = new_figure(figsize=(10.0, 2.2 * lines), layout="constrained")
    from matplotlib.ticker import EngFormatter

    grid = figure.subplots(lines, COLUMNS, squeeze=False)
    for axes, (title, names) in zip(grid.flat, panels.items(), strict=False):
        for name in names:
            known = [row for row in rows if is_number(row.get(name))]
            label = LABELS.get(name)
            axes.plot([row["steps"] for row in known], [row[name] for row in known], linewidth=1, label=label)
        axes.set_title(title, fontsize="small")
        axes.tick_params(labelsize="x-small")
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if len(names) > 1:
            axes.legend(fontsize="x-small")
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel("environment steps", fontsize="small")
    return _svg(figure)


def thinned(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rows spread evenly over all of them, the newest among them; all where they are few."""
    if len(rows) <= MOST_POINTS:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (MOST_POINTS - 1))] for place in range(MOST_POINTS)]


def is_number(value: Any) -> bool:
    """Return whether there is something to draw."""
    return isinstance(value, int | float) and math.isfinite(value)


def _svg(figure: Any) -> str:
    """Return the drawing without the head that only a file of its own has."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
