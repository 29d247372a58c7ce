"""`dppo watch`: the live screen of a run that goes on elsewhere. Reads its directory and changes nothing."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dppo.fitted_text import fitted
from dppo.learner.telemetry.status import LAST_PHASE
from dppo.local.progress import Progress
from dppo.protocol.errors import UsageError
from dppo.watch.run_list import FoundRun, ago, check_run, look_at
from dppo.watch.status_file import DatedStatus, read_status

LOOK_SECONDS = 0.5
FIRST_SECONDS = 15.0  # until a run that has just begun has a status
QUIET_SECONDS = 15.0  # without news, which are written once a second


@dataclass(frozen=True)
class WatchArguments:
    """Show the live screen of a run in another terminal, a container, a job. Ctrl-C ends the watching only."""

    run: str
    """Run directory."""
    once: bool = False
    """Show the state as it is now, and exit."""


def watch(chosen: WatchArguments, *, clock: Callable[[], float] = time.monotonic) -> int:
    """Draw until the run is over; returns the exit code. Raises UsageError where there is no run, or no news of one."""
    directory = check_run(chosen.run)
    first = _first(directory, clock, seconds=0.0 if chosen.once else FIRST_SECONDS)
    with contextlib.suppress(KeyboardInterrupt), Progress() as progress:
        progress.show(first.status)
        if not chosen.once:
            _follow(directory, first, progress)
    _say_what_is_next(look_at(directory))
    return 0


def _first(directory: Path, clock: Callable[[], float], seconds: float) -> DatedStatus:
    began = clock()
    while (found := read_status(directory)) is None:
        if clock() - began >= seconds:
            raise UsageError(
                f"{directory} has no status.json: its run has not begun to report, or is of an earlier release; "
                f"dppo runs lists the others"
            )
        time.sleep(LOOK_SECONDS)
    return found


def _follow(directory: Path, newest: DatedStatus, progress: Progress) -> None:
    """Show what is new until the run is over."""
    is_told = False
    while newest.status.phase != LAST_PHASE and _goes_on(directory, newest):
        time.sleep(LOOK_SECONDS)
        found = read_status(directory) or newest
        quiet = time.time() - found.at
        if found.at != newest.at:
            is_told = False
        elif quiet > QUIET_SECONDS and not is_told:
            is_told = True
            progress.note(f"no news for {quiet:.0f} s: the run, its host or its terminal stands still")
        newest = found
        progress.show(newest.status)


def _goes_on(directory: Path, newest: DatedStatus) -> bool:
    """Return whether there may be more news: on other hosts only their age tells."""
    return time.time() - newest.at < QUIET_SECONDS or look_at(directory).state == "running"


def _say_what_is_next(run: FoundRun) -> None:
    state = run.state if run.steps is None else f"{run.state} after {run.steps:,} steps"
    print(fitted(f"{run.path}: {state}, newest change {ago(time.time() - run.changed)}"))
    if run.state == "finished":
        print(fitted(f"next: dppo evaluate {run.path}, dppo diagnose {run.path}, dppo plot {run.path}"))
