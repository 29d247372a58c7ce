"""A timeline as a picture: a lane an actor or a host, one a learner, marks on them. Knows lanes and matplotlib."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from dppo.figures import new_figure
from dppo.watch.timeline.lanes import PLACES, Board, Doing, Happening, Lane
from dppo.watch.timeline.rows import Row, rows_of

COLOURS: dict[Doing, str] = {  # the live screen's, where it has them
    Doing.WORKING: "#4caf72",
    Doing.SENDING: "#8e7cc3",
    Doing.STOPPING: "#c2417c",
    Doing.UPDATING: "#3f78c4",
    Doing.PUBLISHING: "#35b6c4",
    Doing.WAITING: "#d9d9d9",
    Doing.JOINING: "#e6b450",
    Doing.ENDING: "#9e9e9e",
}
MARKS: dict[Happening, tuple[str, str]] = {  # form, colour
    Happening.JOINED: ("^", "#2e7d32"),
    Happening.RESTARTED: ("^", "#e65100"),
    Happening.RECONNECTED: ("D", "#e65100"),
    Happening.LOST: ("X", "#c62828"),
    Happening.LEFT: ("s", "#555555"),
    Happening.REFUSED: ("v", "#c62828"),
    Happening.TROUBLE: ("P", "#6a1b9a"),
}
WIDTH_INCHES = 12.0
ROW_INCHES = 0.27
HEIGHT = 0.72  # of a lane, of its row
MOST_SPANS_A_LANE = 400  # beyond it they are narrower than what can be seen
MOST_TICKS_A_LANE = 400
GAP = 0.5  # rows between groups
UPDATES_A_COLUMN = 3
FEWEST_DRAWN = 25  # columns
ABOVE = 0.8  # rows between figures and what is above them
SMALL = 8.0  # points


def figure_of(board: Board, *, title: str, lines: Sequence[str], origin: float | None) -> Any:
    """Return the figure. lines: below the title. origin: time of day at 0 s."""
    rows = [*(Row(lane.name, "\0learners", (lane,)) for lane in board.learners), *rows_of(board.actors)]
    places = _places(rows)
    height = 1.7 + 0.2 * len(lines) + ROW_INCHES * (places[-1] + 1)
    figure = new_figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    axes = figure.subplots()
    is_fine = board.is_fine and all(len(lane.spans) <= MOST_SPANS_A_LANE for row in rows for lane in row.lanes)
    merged = _merged(board)
    for row, place in zip(rows, places, strict=True):
        if is_fine and len(row.lanes) == 1:
            _spans(axes, row.lanes[0], place)
        else:
            _shares(axes, row, place, board, merged=1 if is_fine else merged)
        _figures(axes, row, place)
    _heads(axes, rows, places)
    _marks(axes, board, {lane.name: place for row, place in zip(rows, places, strict=True) for lane in row.lanes})
    mean_seconds = 0.0 if is_fine else merged * board.column_seconds
    _dress(axes, board, rows, places, origin=origin, mean_seconds=mean_seconds)
    axes.set_title("\n".join(lines), loc="left", fontsize=SMALL + 1, pad=16.0 if board.starts else 6.0)
    figure.suptitle(title, x=0.01, ha="left", fontsize="large", fontweight="bold")
    _legend(figure, board, rows)
    return figure


def picture_of(figure: Any, kind: str, dpi: int = 150) -> bytes:
    """Return the figure as a file of that kind: png, svg or pdf."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=dpi)
    return file.getvalue()


def _places(rows: Sequence[Row]) -> list[float]:
    """Return each row's place, from the top, with gaps between groups."""
    places: list[float] = []
    for number, row in enumerate(rows):
        gap = GAP if number and rows[number - 1].group != row.group else 0.0
        places.append(places[-1] + 1 + gap if places else 0.0)
    return places


def _spans(axes: Any, lane: Lane, place: float) -> None:
    for doing, colour in COLOURS.items():
        bars = [(start, end - start) for start, end, what in lane.spans if what is doing]
        if bars:
            axes.broken_barh(bars, (place - HEIGHT / 2, HEIGHT), facecolors=colour, linewidth=0)
    if 0 < len(lane.rollouts) <= MOST_TICKS_A_LANE:
        axes.vlines(lane.rollouts, place + HEIGHT / 6, place + HEIGHT / 2, color="black", linewidth=0.6, alpha=0.7)


def _merged(board: Board) -> int:
    """Return how many columns to draw as one, so that each has some updates in it: else they look like a comb."""
    columns = board.columns
    an_update = columns / max(1, board.updates)
    return max(1, min(round(UPDATES_A_COLUMN * an_update), columns // FEWEST_DRAWN))


def _shares(axes: Any, row: Row, place: float, board: Board, *, merged: int) -> None:
    """Draw the shares of activities in each column, one above the other. merged: columns that are drawn as one."""
    starts = np.arange(0, row.columns.shape[1], merged)
    edges = board.window[0] + board.column_seconds * np.append(starts, row.columns.shape[1])
    columns = np.add.reduceat(row.columns, starts, axis=1) / np.diff(edges)  # [activities, columns]
    bottom = np.full(columns.shape[1], place + HEIGHT / 2)
    for doing, colour in COLOURS.items():
        top = bottom - HEIGHT * columns[PLACES[doing]]
        if (top < bottom).any():
            lower, upper = (np.append(values, values[-1:]) for values in (bottom, top))
            axes.fill_between(edges, upper, lower, step="post", color=colour, linewidth=0)
        bottom = top


def _figures(axes: Any, row: Row, place: float) -> None:
    """Write the largest shares of a lane beside it."""
    doings = (Doing.WORKING, Doing.UPDATING if row.lanes[0].is_learner else Doing.WAITING)
    _beside(axes, place, "".join(f"{row.share(doing):>8.0%}" for doing in doings))


def _heads(axes: Any, rows: Sequence[Row], places: Sequence[float]) -> None:
    """Write above the learners' and the actors' figures what they are."""
    for words, is_learner in (("collect update", True), ("   step    wait", False)):
        first = next(
            (place for row, place in zip(rows, places, strict=True) if row.lanes[0].is_learner is is_learner), 0
        )
        _beside(axes, first - ABOVE, f" {words}")


def _beside(axes: Any, place: float, text: str) -> None:
    style = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": SMALL, "family": "monospace"}
    axes.text(1.0, place, text, **style)


def _marks(axes: Any, board: Board, places: dict[str, float]) -> None:
    for happening, (form, colour) in MARKS.items():
        x = [mark.seconds for mark in board.marks if mark.happening is happening and mark.lane in places]
        y = [places[mark.lane] for mark in board.marks if mark.happening is happening and mark.lane in places]
        style = {"edgecolors": "white", "linewidths": 0.7, "zorder": 3, "clip_on": False}
        axes.scatter(x, y, marker=form, s=36, color=colour, **style)
    for start in board.starts:
        axes.axvline(start.seconds, color="#c62828", linestyle="--", linewidth=1, zorder=2)
        style = {"ha": "right", "va": "bottom", "fontsize": SMALL, "color": "#c62828"}
        axes.annotate(f"{start.name} started again ", (start.seconds, 1), xycoords=("data", "axes fraction"), **style)


def _dress(
    axes: Any, board: Board, rows: Sequence[Row], places: Sequence[float], *, origin: float | None, mean_seconds: float
) -> None:
    axes.set_xlim(*board.window)
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.set_yticks(places, [row.name for row in rows], fontsize=SMALL + 1)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    since = "" if origin is None else f" ({datetime.fromtimestamp(origin, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    one = len(board.learners) == 1
    clock = "the learner's clock" if one else "the learners' clocks, compared by their times of day"
    columns = f"; a column is the mean of {mean_seconds:.2g} s" if mean_seconds else ""
    axes.set_xlabel(f"seconds since the first start{since}, by {clock}{columns}", fontsize=SMALL + 1)


def _legend(figure: Any, board: Board, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    there = [doing for doing in COLOURS if any(row.share(doing) > 0 for row in rows)]
    handles: list[Any] = [Patch(color=COLOURS[doing], label=doing.value) for doing in there]
    if any(lane.rollouts for lane in board.lanes.values()):
        handles.append(Line2D([], [], color="black", marker="|", linestyle="", label="rollout arrives"))
    for happening, (form, colour) in MARKS.items():
        if any(mark.happening is happening for mark in board.marks):
            handles.append(Line2D([], [], color=colour, marker=form, linestyle="", label=happening.value))
    figure.legend(handles=handles, loc="outside lower left", ncols=6, frameon=False, fontsize=SMALL)
