"""The end of a local run that did not fail: results, evaluation, film, next steps; or what an interrupt leaves."""

import contextlib
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from dppo.local.failed_starts import NOTHING_LEFT, broken_off_text
from dppo.settings.commands import TrainConfig
from dppo.watch.side_processes import SideProcesses

INTERRUPTED = 130


class Ending(Enum):
    """End of a run that did not fail."""

    OVER = "over"
    INTERRUPTED = "interrupted"  # the learner wrote its last checkpoint and its summary
    BROKEN_OFF = "broken off"  # interrupted, and it did not get to that


def close(config: TrainConfig, directory: Path, sides: SideProcesses, *, shows_commands: bool = True) -> int:
    """Say how a run that is over went, evaluate, film, show next steps, in this order; returns the exit code."""
    from dppo.local import run_summary

    sides.evaluator.stop()
    interrupted = run_summary.close_run(
        directory,
        episodes=config.evaluation_episodes,
        envs=config.learner.collect.envs_per_actor,
        max_seconds=config.evaluation_seconds,
    )
    run_summary.check_that_episodes_ended(directory)
    if interrupted or run_summary.evaluate_the_last_policy(directory, sides.evaluator):
        return INTERRUPTED
    run_summary.film(directory, sides.recorder)
    if shows_commands:
        seeds = "--run.new --seeds 5" if config.learner.run.directory else "--seeds 5"
        run_summary.say_what_is_next(directory, seeds=seeds)
    return 0


def leave(ending: Ending, directory: Path, sides: SideProcesses, again: str, undo: Callable[[], bool] | None) -> int:
    """Say what an interrupted run leaves, and how to go on with it; returns the exit code.

    again: the line with the command. undo: removes what was made where nothing has begun, and returns whether it has;
    None: everything is to stay.
    """
    from dppo.local import run_summary

    sides.evaluator.stop()
    if undo is not None and undo():
        print(NOTHING_LEFT, flush=True)
        return INTERRUPTED
    if ending is Ending.BROKEN_OFF:
        print(broken_off_text(directory))
    else:
        run_summary.close_run(directory, episodes=0)
    if again:
        print(f"\n{again}", flush=True)
    return INTERRUPTED


def version_of(file: Path) -> tuple[int, int] | None:
    """Return what another version of the file differs in; None where there is none."""
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_ino, found.st_mtime_ns
    return None
