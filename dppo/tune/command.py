"""The command `dppo tune`: searches, compares the best with the start on seeds of their own, writes what was found."""

import contextlib
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from dppo.fitted_text import fitted
from dppo.learner.storage.settings_history import has_begun
from dppo.local.preflight import check_before_start
from dppo.output_files import why_not_made
from dppo.protocol.errors import DppoError, UsageError
from dppo.required_packages import need
from dppo.settings.fields import values_of
from dppo.settings.tune_arguments import TuneConfig
from dppo.tune.fleet import invitation, places
from dppo.tune.objective import chance_of_luck
from dppo.tune.search_space import Parameter, read_space

INTERRUPTED = 130
LONGER = 5  # times the steps of a trial, for the run that is suggested


def tune(config: TuneConfig) -> int:
    """Search, check, write; returns the exit code. Raises UsageError before anything is started or written."""
    need(("optuna",))
    space = read_space(config.space)
    check_before_start(config.train, _print)
    folder = folder_of(config)
    if has_begun(folder):
        raise UsageError(f"{folder} holds a run: choose another --run.directory for the folder of a search")
    if problem := why_not_made(folder):
        raise UsageError(f"the search cannot be kept in {folder}: {problem}. Choose another --run.directory")
    from dppo.tune.study import Search
    from dppo.tune.trial_run import Interrupted

    search = Search(config, space, folder, standing := places(config, folder))
    for line in invitation(standing, shows_secrets=sys.stdout.isatty()) if standing else ():
        print(line, flush=True)  # a line to paste is not broken
    with _ended_by_signals(search.ended):
        try:
            search.run(_print)
            checks = _check(search)
        except Interrupted:
            where = f"after {len(search.done)} of {config.trials} trials"
            where = "in the comparison at the end" if len(search.done) >= config.trials else where
            print(f"ended {where}; the same command goes on with {folder}")
            return INTERRUPTED
    _finish(search, space, checks)
    return 0


def folder_of(config: TuneConfig) -> Path:
    """Return the folder of a search: as set, else named after the environment."""
    directory = config.train.learner.run_directory
    return directory if config.train.learner.run.directory else directory.with_name(f"{directory.name}-tune")


def _check(search: Any) -> dict[str, list[float]]:
    """Numbers of the best settings and of those that the search began with, on seeds that no trial had."""
    config, best = search.config, search.best
    if best is None:
        raise DppoError("no trial has a value: each was ended early or has failed")
    first = config.train.learner.run.seed + config.trial_seeds
    seeds = range(first, first + config.check_seeds)
    kept = {"start": "start", "best": f"trial {best.number}"} if seeds else {}
    left = deque((name, seed) for name in kept for seed in seeds)

    def work(job: int) -> None:
        while True:
            try:
                name, seed = left.popleft()
            except IndexError:
                return
            value = search.checked(kept[name], seed)
            if value is None:
                run = search.settings_of(best.params if name == "best" else {})
                value = search.train_one(run, f"check-{name}", seed, lambda curve: False, job)
                search.keep_check(kept[name], seed, value)
            _print(f"{name} settings, seed {seed}: {config.objective} {value:.4g}")

    search.in_jobs(work)
    return {name: [search.checked(kept[name], seed) for seed in seeds] for name in kept}


def _finish(search: Any, space: Sequence[Parameter], checks: dict[str, list[float]]) -> None:
    from dppo.tune.results import draw_trials, write_best, write_trials

    best, config = search.best, search.config
    trials = [trial for trial in search.study.get_trials(deepcopy=False) if trial.params]  # others have not begun
    verdict = verdict_of(checks, config.objective)
    env = config.train.learner.env.id
    head = [
        f"{env}: trial {best.number}, the best of {len(search.done)}, {config.objective} {best.value:.4g}",
        *filter(None, [verdict]),
    ]
    files = [
        write_best(search.folder, values_of(search.settings_of(best.params)), head),
        write_trials(search.folder, trials),
        draw_trials(search.folder, trials, space, config.objective),
    ]
    print()
    for line in head:
        _print(line)
    for path, value in best.params.items():
        print(f"  {path}: {value:.4g}" if isinstance(value, float) else f"  {path}: {value}")
    print("wrote " + ", ".join(str(file) for file in files if file is not None))
    steps = LONGER * config.train.learner.run.total_steps
    print(f"next: dppo train --config {files[0]} --preset none --run.new --steps {steps}")


def verdict_of(checks: dict[str, list[float]], objective: str) -> str:
    """Return how the best settings compare with the first ones; "" where that was not asked for."""
    if not checks:
        return ""
    ours, theirs = checks["best"], checks["start"]
    p = chance_of_luck(ours, theirs)
    better = "better than" if mean(ours) > mean(theirs) else "not better than"
    sure = f"p = {p:.2g}" + (", which may be luck" if mean(ours) > mean(theirs) and p > 0.05 else "")
    return (
        f"{better} the settings it began with: {objective} {mean(ours):.4g} against {mean(theirs):.4g} "
        f"({len(ours)} other seeds each, {sure})"
    )


@contextlib.contextmanager
def _ended_by_signals(ended: Any) -> Iterator[None]:
    previous = {
        number: signal.signal(number, lambda number, frame: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _print(text: str) -> None:
    print(fitted(text), flush=True)
