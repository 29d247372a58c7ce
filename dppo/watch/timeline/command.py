"""`dppo plot RUN --timeline`: a picture and a summary of who stepped, waited and updated. Knows files and pictures."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

from dppo.fitted_text import fitted
from dppo.learner.atomic_files import replace_file
from dppo.local.log_files import SUFFIX
from dppo.protocol.errors import UsageError
from dppo.watch.timeline.drawing import figure_of, picture_of
from dppo.watch.timeline.lanes import Board
from dppo.watch.timeline.rows import ALIKE, slowest_of
from dppo.watch.timeline.summary import summary, verdict_of
from dppo.watch.timeline.traces import Extent, board_of, chosen_window, extent_of, learner_traces

TIMELINE_FILE = "timeline.png"
FORMATS = (".png", ".svg", ".pdf")
UPDATES = 10  # shown where no window is chosen
REPORT_DPI = 110


@dataclass(frozen=True)
class Timeline:
    """One window of a run."""

    name: str
    extent: Extent
    board: Board

    @property
    def title(self) -> str:
        """Return the first line: which part of the run."""
        first, last = self.board.window
        whole = f" of {self.extent.seconds:,.1f} s" if last - first < self.extent.seconds else ""
        updates = f"{self.board.updates} update{'s' if self.board.updates != 1 else ''}"
        return f"{self.name}: {updates}, {first:,.1f} s to {last:,.1f} s{whole}"

    @property
    def lines(self) -> list[str]:
        """Return what the picture tells first: the bottleneck, and the slowest actor where one is slow."""
        lines = [line for line in (verdict_of(self.board),) if line]
        found = slowest_of(self.board.actors)
        if found is not None and found[1] >= ALIKE:
            lines.append(f"slowest actor: {found[0].name}, {found[1]:.1f}x slower than the median one")
        return lines

    def picture(self, kind: str, dpi: int = 150) -> bytes:
        """Return the picture as a file of that kind."""
        figure = figure_of(self.board, title=self.title, lines=self.lines, origin=self.extent.origin)
        return picture_of(figure, kind, dpi)


def read_timeline(
    run: str, *, begin: float | None = None, end: float | None = None, updates: int = UPDATES
) -> Timeline:
    """Return the window of a run's timeline, as `chosen_window` has it. Raises UsageError where there is no trace."""
    traces = learner_traces(run)
    extent = extent_of(traces)
    board = board_of(traces, extent, chosen_window(extent, begin, end, updates))
    if not board.actors:
        raise UsageError(f"no actor was there between {board.window[0]:g} s and {board.window[1]:g} s: choose others")
    return Timeline(Path(run).absolute().name, extent, board)


def plot_timeline(
    run: str, output: str = "", *, begin: float | None = None, end: float | None = None, updates: int = UPDATES
) -> Path:
    """Draw the timeline of a run, print its summary, return the file written. Raises UsageError."""
    place = Path(run) if Path(run).is_dir() else Path(run).parent
    path = Path(output) if output else place / TIMELINE_FILE
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"output {path} has no known picture format: choose a name that ends in .png, .svg or .pdf")
    if path.is_dir():
        raise UsageError(f"output {path} is a directory: choose the name of a file")
    timeline = read_timeline(run, begin=begin, end=end, updates=updates)
    try:
        replace_file(path, timeline.picture(path.suffix[1:].lower()))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    print(fitted(timeline.title))
    for line in summary(timeline.board):
        print(line)
    return path


def section_of_report(run: Path) -> str:
    """Return picture and summary within a page; "" for a run without a trace, one line for one that cannot be used."""
    if not any((run / "logs").glob(f"learner*{SUFFIX}")):
        return ""
    try:
        timeline = read_timeline(str(run))
    except UsageError as error:
        return f"<p>{html.escape(str(error))}</p>"
    source = base64.b64encode(timeline.picture("png", REPORT_DPI)).decode()
    text = html.escape("\n".join([timeline.title, *summary(timeline.board)]))
    return f'<img src="data:image/png;base64,{source}" alt="a lane for each actor"><pre>{text}</pre>'
