"""Shows a run while it happens: a live table on a terminal, plain lines elsewhere. Knows Status records, nothing else.

rich is imported only for a terminal; the lines of a log file cost nothing at start-up.
"""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from dppo.fitted_text import fitted, wrapped
from dppo.learner.telemetry.status import LAST_PHASE, Status
from dppo.local.return_curve import ReturnCurve, TimeShares, earlier_returns
from dppo.local.status_text import batch_text, ledger_line, left_out_text, own_metrics_text
from dppo.number_text import absurd_text, return_number

if TYPE_CHECKING:
    from rich.live import Live

TABLE_SECONDS = 0.25  # a refresh takes 3 ms with 8 actors, 22 ms with 64
LINE_SECONDS = 2.0  # at first
MOST_LINE_SECONDS = 60.0
RARER = 15  # a line for every 15th of the time that has passed: 20 s after 5 minutes, 60 s after 15
METRICS_FILE = "metrics.jsonl"


class Progress:
    """Give it every Status; it decides when to draw. Use as a context manager: leaving it restores the terminal."""

    def __init__(self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stdout
        self._clock = clock
        self._live: Live | None = None
        self._drawn_at: float | None = None
        self._drawn_phase = ""
        self._drawn: tuple[object, ...] = ()  # what counts of the status that was drawn last
        self._latest: Status | None = None
        self._returns: ReturnCurve | None = None  # of the whole run; None before its first status
        self._returns_until = -1  # update that the newest entry belongs to
        self._times = TimeShares()

    def __enter__(self) -> Self:
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._stream, highlight=False)
            self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_news = self._live is not None or self._latest is None or _what_counts(self._latest) != self._drawn
        if self._latest is not None and self._drawn_phase != LAST_PHASE and is_news:
            self._draw(self._latest)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, status: Status) -> None:
        """Take note of a status; draw it if enough time has passed, or if it is the last one."""
        self._latest = status
        if self._returns is None:
            self._returns = ReturnCurve(earlier_returns(Path(status.run_directory, METRICS_FILE)))
        if status.updates > self._returns_until:
            self._returns_until = status.updates
            self._times.add(status.metrics)
            if status.mean_return is not None:
                self._returns.add(status.mean_return)
        now = self._clock()
        interval = line_seconds(status.elapsed_seconds) if self._live is None else TABLE_SECONDS
        finished = status.phase == LAST_PHASE and self._drawn_phase != LAST_PHASE
        if finished or self._drawn_at is None or now - self._drawn_at >= interval:
            self._drawn_at = now
            self._draw(status)

    def note(self, text: str) -> None:
        """A line that stays, above the table."""
        if self._live is None:
            self._print(fitted(text, self._stream))
        else:
            from rich.console import Group
            from rich.text import Text

            # a join line stays one line; soft_wrap would cut off the lines of the table too, which is drawn again below
            note = Text(wrapped(text, self._live.console.width), no_wrap=True, overflow="ignore")
            self._live.console.print(Group(note), crop=False)

    def _draw(self, status: Status) -> None:
        self._drawn_phase, self._drawn = status.phase, _what_counts(status)
        if self._live is None:
            self._print(plain_line(status))
            if status.phase == LAST_PHASE:
                self._print(ledger_line(status.ledger))
        else:
            from dppo.local.live_table import table

            width, height = self._live.console.size
            returns = self._returns or ReturnCurve()
            self._live.update(table(status, returns, self._times.shares(), width, height), refresh=True)

    def _print(self, text: str) -> None:
        try:
            print(text, file=self._stream, flush=True)
        except BrokenPipeError:  # no reader is left, as after `| head`
            raise
        except OSError:  # the disk that our output goes to is full: no reason to end a run, and the next line may fit
            return


class Notes(Protocol):
    """Receiver of notes."""

    def note(self, text: str) -> None:
        """A line that stays."""


class NoteHandler(logging.Handler):
    """Log records as notes, so that they do not tear the table."""

    def __init__(self, progress: Notes) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        self._progress.note(self.format(record))


def line_seconds(elapsed: float) -> float:
    """Return how far apart two lines are after so many seconds of a run."""
    return min(MOST_LINE_SECONDS, max(LINE_SECONDS, elapsed / RARER))


def _what_counts(status: Status) -> tuple[object, ...]:
    """Return what makes a status worth a last line of its own: not that time has passed."""
    return status.phase, status.updates, status.steps, status.episodes, status.ledger.sealed


def plain_line(status: Status) -> str:
    """A status as one line."""
    live = sum(actor.state not in ("silent", "gone") for actor in status.actors)
    parts = [
        status.phase.lower(),
        f"{status.elapsed_seconds:.1f} s",
        f"update {status.updates}",
        f"steps {status.steps:,} of {status.total_steps:,}",
        *filter(None, [batch_text(status)]),
        f"{status.steps_per_second:,.0f} steps/s",
        return_text(status),
        *filter(None, [own_metrics_text(status.metrics)]),
        f"{live} actor{'s' if live != 1 else ''}",
    ]
    if absurd := absurd_text(status.outliers, status.steps_left_out):
        parts.append(absurd)
    if status.waiting_for:
        parts.append(f"waiting for {status.waiting_for}")
    return " | ".join(parts)


def return_text(status: Status) -> str:
    """The mean return beside its target, and how many episodes succeed where that is known."""
    if status.mean_return is None:
        return "no episode yet"
    target = "" if status.target_return is None else f" (target {status.target_return:g})"
    success = "" if status.success_rate is None else f", success {status.success_rate:.0%}"
    return f"return {return_number(status.mean_return)}{target}{success}{left_out_text(status)}"
