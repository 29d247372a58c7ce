"""The search: asks Optuna for settings, trains them, tells it the result. Knows Optuna; draws and prints nothing."""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from dppo.local.launching import with_run
from dppo.protocol.errors import DppoError, UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build, values_of
from dppo.settings.tune_arguments import TuneConfig
from dppo.tune.fleet import Place
from dppo.tune.objective import Curve, value_of
from dppo.tune.search_space import Parameter
from dppo.tune.trial_run import Interrupted, train

JOURNAL = "journal.log"
NAME = "tune"
BASE = "base"  # user attribute: the settings that the search began with
CHECKS = "checks"  # user attribute: numbers of the comparison at the end, by settings and seed
WHY = "why"  # user attribute of a trial: why it has no value
MOST_FAILURES = 3  # in a row, none having worked: the environment or the machine is at fault
PARTS = 20  # of the budget, at whose ends returns are compared
FEW_TRIALS = 5  # before which none is ended early


class Search:
    """A search in a folder; the same settings go on with it."""

    def __init__(
        self, config: TuneConfig, space: tuple[Parameter, ...], folder: Path, places: Sequence[Place] = ()
    ) -> None:
        """Raises UsageError where the folder holds a search of other settings.

        places: where standing actors join, one for each job; none: each trial has its own actors.
        """
        self.config, self.space, self.folder, self.places = config, space, folder, places
        self.ended = threading.Event()
        self._lock = threading.Lock()  # of what jobs share: the study, and what is kept of trials
        self._under_way = self._failures = 0
        optuna.logging.set_verbosity(logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        self.study = optuna.create_study(
            storage=storage, study_name=NAME, load_if_exists=True, direction="maximize", pruner=_pruner(config)
        )
        seed = config.train.learner.run.seed + len(self.study.get_trials(deepcopy=False))  # a search that goes on
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=config.jobs > 1)
        self._keep_base()
        self._take_up()

    def _take_up(self) -> None:
        """Have trials that a search left unfinished, ended or killed, tried again with the same settings."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
            self._forget(f"trial-{trial.number}")
            if len(trial.params) == len(self.space):
                self.study.enqueue_trial(trial.params)

    def _keep_base(self) -> None:
        base = json.loads(json.dumps(_base(self.config, self.space), default=str))
        kept = self.study.user_attrs.get(BASE)
        if kept is None:
            self.study.set_user_attr(BASE, base)
        elif kept != base:
            differ = sorted(path for path in {*kept, *base} if kept.get(path) != base.get(path))
            raise UsageError(
                f"{self.folder} holds a search with other settings ({', '.join(differ[:3])}): choose another "
                "--run.directory, or the same settings to go on with it"
            )

    @property
    def done(self) -> list[optuna.trial.FrozenTrial]:
        """Trials with a value, and those that were ended early."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    @property
    def best(self) -> optuna.trial.FrozenTrial | None:
        """The best trial; None where none has a value."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return max(complete, key=lambda trial: trial.value or 0.0) if complete else None

    def run(self, note: Callable[[str], None]) -> None:
        """Try until there are enough trials. Raises DppoError where nothing works, Interrupted by the user."""
        self.in_jobs(lambda job: self._work(job, note))

    def in_jobs(self, work: Callable[[int], None]) -> None:
        """Call `work` with the number of each job, at the same time. Where one raises, all end, and it is raised."""
        if self.config.jobs == 1:
            work(0)
            return
        with ThreadPoolExecutor(self.config.jobs) as pool:
            working = [pool.submit(work, job) for job in range(self.config.jobs)]
            failed = [error for one in as_completed(working) if (error := self._ended_by(one)) is not None]
        if failed:
            raise next((error for error in failed if not isinstance(error, Interrupted)), failed[0])

    def _ended_by(self, job: Future[None]) -> BaseException | None:
        """Return what a job has ended by; the others end too."""
        error = job.exception()
        if error is not None:
            self.ended.set()
        return error

    def _work(self, job: int, note: Callable[[str], None]) -> None:
        """Try one after the other, at the same time as the other jobs."""
        while True:
            with self._lock:
                if len(self.done) + self._under_way >= self.config.trials:
                    return
                self._under_way += 1
                trial = self.study.ask()
            try:
                self._try(trial, job, note)
            finally:
                with self._lock:
                    self._under_way -= 1

    def _try(self, trial: optuna.Trial, job: int, note: Callable[[str], None]) -> None:
        try:
            value = self._value(trial, job)
        except optuna.TrialPruned as pruned:
            with self._lock:
                self.study.tell(trial, state=TrialState.PRUNED)
                note(self._line(trial, str(pruned)))
        except (DppoError, ValueError) as error:
            with self._lock:
                self._fail(trial, str(error))
                self._failures += 1
                if self._failures >= MOST_FAILURES and self.best is None:
                    why = f"{self._failures} trials failed and none has worked; the newest: {error}"
                    raise DppoError(why) from None
                note(self._line(trial, f"failed: {error}"))
        else:
            with self._lock:
                if self.best is not None:  # runs of many trials would fill the disk
                    is_worse = value < (self.best.value or 0.0)
                    self._forget(f"trial-{trial.number if is_worse else self.best.number}")
                self.study.tell(trial, value)
                self._failures = 0
                note(self._line(trial, f"{self.config.objective} {value:.4g}{self._is_best(trial, value)}"))

    def settings_of(self, chosen: Mapping[str, Any]) -> TrainConfig:
        """The settings of a run with these values of a trial. Raises UsageError where they do not fit together."""
        values = {one.path: one.value(chosen[one.path]) for one in self.space if one.path in chosen}
        return build(TrainConfig, values_of(self.config.train) | values)

    def train_one(
        self, config: TrainConfig, name: str, seed: int, is_hopeless: Callable[[Curve], bool], job: int = 0
    ) -> float:
        """Train with that seed in a directory of that name; return its number. Raises ValueError without an episode."""
        directory = self.folder / name / f"seed-{seed}"
        # to the end of the steps: of a run that stops at its target, less would count
        run = with_run(config, seed=seed, directory=str(directory), stop_at_target=False)
        where = (self.places[job],) if self.places else ()
        curve = train(run, directory, self.ended, is_hopeless, *where)
        return value_of(curve, self.config.objective)

    def checked(self, name: str, seed: int) -> float | None:
        """Return what a training of the comparison gave that is over; None where it is not."""
        value = self.study.user_attrs.get(CHECKS, {}).get(f"{name} {seed}")
        return None if value is None else float(value)

    def keep_check(self, name: str, seed: int, value: float) -> None:
        """Keep the number of a training of the comparison: the same command does not train it again."""
        with self._lock:
            self.study.set_user_attr(CHECKS, {**self.study.user_attrs.get(CHECKS, {}), f"{name} {seed}": value})

    def _value(self, trial: optuna.Trial, job: int) -> float:
        config = self.settings_of({parameter.path: parameter.suggest(trial) for parameter in self.space})
        first, total = config.learner.run.seed, config.learner.run.total_steps
        name, values = f"trial-{trial.number}", list[float]()
        for place in range(self.config.trial_seeds):
            compared = 0

            def is_hopeless(curve: Curve, place: int = place) -> bool:
                nonlocal compared
                steps, mean = curve[-1]
                part = min(PARTS - 1, steps * PARTS // total)
                if place or part <= compared:
                    return False
                compared = part
                trial.report(mean, part)
                return trial.should_prune()

            values.append(self.train_one(config, name, first + place, is_hopeless, job))
            if not place and compared and trial.should_prune():
                self._forget(name)
                raise optuna.TrialPruned(f"ended after {compared / PARTS:.0%}: below the median")
        return sum(values) / len(values)

    def _forget(self, name: str) -> None:
        """Remove the runs of a trial that is not the best."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def _fail(self, trial: optuna.Trial, why: str) -> None:
        trial.set_user_attr(WHY, why)
        self.study.tell(trial, state=TrialState.FAIL)
        self._forget(f"trial-{trial.number}")

    def _is_best(self, trial: optuna.Trial, value: float) -> str:
        return ", the best so far" if self.best is not None and self.best.number == trial.number else ""

    def _line(self, trial: optuna.Trial, result: str) -> str:
        chosen = ", ".join(f"{path.rpartition('.')[2]} {shown(value)}" for path, value in trial.params.items())
        return f"trial {trial.number} ({len(self.done)} of {self.config.trials}): {result}; {chosen}"


def _pruner(config: TuneConfig) -> optuna.pruners.BasePruner:
    return (
        optuna.pruners.MedianPruner(FEW_TRIALS, n_warmup_steps=PARTS // 4)
        if config.prune
        else optuna.pruners.NopPruner()
    )


def shown(value: Any) -> str:
    """Return a value for a line of text."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _base(config: TuneConfig, space: tuple[Parameter, ...]) -> dict[str, Any]:
    """Return what must be equal for a search to go on."""
    searched = {parameter.path for parameter in space}
    fixed = {path: value for path, value in values_of(config.train).items() if path not in searched}
    own = {"objective": config.objective, "trial_seeds": config.trial_seeds}
    return {**{f"space.{one.path}": repr(one) for one in space}, **fixed, **own}
