"""Traces of a run's learners: their files, their extent, and a window of them as lanes. Knows files; no picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dppo.local.log_files import SUFFIX
from dppo.ops.trace_reader import events_of
from dppo.protocol.errors import UsageError
from dppo.watch.run_list import check_run
from dppo.watch.timeline.clock import RunClock
from dppo.watch.timeline.lanes import Board, Window
from dppo.watch.timeline.learners import TOLD, LearnerView, is_update

NO_TRACE = (
    "is not there: a timeline needs the learner's trace. Start the run with it: dppo train ... --trace, or "
    "dppo learner ... --trace"
)

ENDS = ("draining", "leaving", "stopped")  # phases that lead nowhere else


@dataclass
class Extent:
    """Extent of the traces of one run, by its first learner but for the end."""

    origin: float | None = None  # time of day at 0 s; None: no trace says it
    seconds: float = 0.0  # of the newest event
    first_policy: float = 0.0  # moment at which actors could begin
    updates: list[float] = field(default_factory=list)  # moments at which an update was done
    ended: float = math.inf  # moment at which the run's end began
    lanes: set[str] = field(default_factory=set)


def learner_traces(run: str) -> list[Path]:
    """Return the traces of a run's learners, rank by rank; of a file, that file. Raises UsageError where none is."""
    path = check_run(run)
    if not path.is_dir():
        if not _is_of_learner(path):
            raise UsageError(f"{path} is no trace of a learner: give that of dppo learner --trace, or a run directory")
        return [path]
    logs = path / "logs"
    try:
        there = sorted(logs.glob(f"*{SUFFIX}"), key=lambda file: (len(file.name), file.name))
        found = [file for file in there if _is_of_learner(file)]
    except OSError as error:
        raise _unreadable(error) from None
    if not found:
        others = f" (there are {len(there)} of actors, which have only what each of them saw)" if there else ""
        raise UsageError(f"{logs / f'learner{SUFFIX}'} {NO_TRACE} {logs / f'learner{SUFFIX}'}{others}")
    return found


def _is_of_learner(path: Path) -> bool:
    """Whether a file is a learner's trace; of one whose beginning is lost, whether peers are in it. Raises OSError."""
    for number, event in enumerate(events_of(path)):
        side = event.fields.get("side")
        if side or event.peer:
            return side == "learner" or bool(event.peer)
        if number > 1000:
            break
    return False


def _unreadable(error: OSError) -> UsageError:
    return UsageError(f"{error.filename} cannot be read: {error.strerror}. Run this as the user that ran the run")


def extent_of(traces: Sequence[Path]) -> Extent:
    """Return the extent of the traces. Raises UsageError where one cannot be read, or nothing is in it."""
    extent = Extent()
    try:
        extent.origin = min((day for day in map(_first_day, traces) if day is not None), default=None)
        for number, path in enumerate(traces):
            clock = RunClock(extent.origin)
            _measure(path, clock, extent, is_first=not number)
            extent.origin = clock.origin
    except OSError as error:
        raise _unreadable(error) from None
    if extent.seconds <= 0 or not extent.lanes:
        raise UsageError(f"{traces[0]} has no actor in it yet: there is nothing to draw")
    return extent


def _first_day(path: Path) -> float | None:
    """Return the time of day of a trace's first line; None where the file begins with another."""
    first = next(events_of(path), None)
    day = None if first is None else first.fields.get("time_of_day")
    return day if isinstance(day, int | float) else None


def _measure(path: Path, clock: RunClock, extent: Extent, *, is_first: bool) -> None:
    phase = ""
    for event in events_of(path):
        now = clock.at(event)
        if is_first and is_update(event):
            extent.updates.append(now)
        if event.event == "state":
            if is_first and event.state in ENDS and phase not in ENDS:
                extent.ended = now
            phase = event.state
        elif event.event == "begin":
            phase = ""
            extent.ended = math.inf if is_first else extent.ended
        elif event.event == "publish" and not extent.first_policy:
            extent.first_policy = now
        elif event.message == "Hello" or (event.message in TOLD and event.peer):
            extent.lanes.add(event.peer)
    extent.seconds = max(extent.seconds, clock.now)


def chosen_window(extent: Extent, begin: float | None, end: float | None, updates: int) -> Window:
    """Return the window: from `begin` to `end` where one is given, else the last so many updates; 0: the whole trace.

    Seconds below 0 count from the end. Raises UsageError where nothing is in it.
    """
    first, last = 0.0, extent.seconds
    if begin is None and end is None:
        if updates:
            last = min(last, extent.ended)
            first = extent.updates[-updates - 1] if updates < len(extent.updates) else extent.first_policy
        return first, last
    if begin is not None:
        first = begin if begin >= 0 else max(0.0, last + begin)
    if end is not None:
        last = min(last, end) if end >= 0 else last + end
    if first >= last:
        raise UsageError(
            f"nothing is between {first:g} s and {last:g} s: the trace has {extent.seconds:.1f} s. Choose other values "
            "of --from and --to"
        )
    return first, last


def board_of(traces: Sequence[Path], extent: Extent, window: Window) -> Board:
    """Return the lanes of that window. Raises UsageError where a trace cannot be read."""
    board = Board(window, len(extent.lanes) + len(traces))
    try:
        for number, path in enumerate(traces):
            view = LearnerView(board, path.name.removesuffix(SUFFIX), RunClock(extent.origin), is_first=not number)
            for event in events_of(path):
                view.take(event)
            view.close()
    except OSError as error:
        raise _unreadable(error) from None
    return board
