"""Choose a run's directory and starting point, and check whether there is anything to do, before it starts."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, TypeVar

from dppo.fitted_text import fitted
from dppo.learner.storage.checkpoint_format import refuse_unreadable
from dppo.learner.storage.initial_weights import find_source
from dppo.learner.storage.run_directory import check_start, refuse_links
from dppo.learner.storage.run_lock import refuse_if_held
from dppo.learner.telemetry.status import SUMMARY
from dppo.local.expected_spaces import refuse_source_of_other_spaces
from dppo.local.hooks_check import check_hooks
from dppo.local.host_view import host_view
from dppo.local.preflight import env_settings
from dppo.local.run_comparison import Launch, Standing, free_directory, newest_progress, recorded_settings, same, stand
from dppo.protocol.errors import UsageError
from dppo.protocol.texts import printable
from dppo.settings.commands import LearnerProcessConfig, TrainConfig
from dppo.settings.fields import values_of

AnyLaunch = TypeVar("AnyLaunch", TrainConfig, LearnerProcessConfig)

NEW = "run.new"  # the switch: in the next directory that is free
SEEDS = "seeds"
TRACE = "trace"  # the switch: events of the sessions, in logs/
# beside the network's: settings without which the same weights mean something else
MEANING = {"ppo.normalise_values"}
WITHOUT_MEANING = {"network.initialisation", "network.initial_log_std"}  # of the start only


def placed(config: AnyLaunch) -> AnyLaunch:
    """The same settings, with the run to begin from by its whole path: the command may be given elsewhere next time."""
    init_from = config.learner.run.init_from
    return with_run(config, init_from=os.path.abspath(init_from)) if init_from else config


def in_new_directory(config: AnyLaunch) -> AnyLaunch:
    """The same settings in the next directory that is free: runs/Pendulum-v1, runs/Pendulum-v1-2, ..."""
    return with_run(config, directory=str(free_directory(config.learner.run_directory)))


def with_run(config: AnyLaunch, **values: Any) -> AnyLaunch:
    """The same settings with others in the section `run`."""
    run = dataclasses.replace(config.learner.run, **values)
    return dataclasses.replace(config, learner=dataclasses.replace(config.learner, run=run))


def checked(config: Launch) -> Standing:
    """Return how the command stands to its run directory; write nothing.

    Raises UsageError where it cannot start, RefusedError where a learner is running there.
    """
    directory = config.learner.run_directory
    try:
        return _checked(config, directory)
    except OSError as error:  # a name that is too long, a file system that does not answer
        where = f" ({error.filename})" if error.filename not in (None, str(directory)) else ""
        raise UsageError(
            f"run directory {directory} cannot be used: {error.strerror or error}{where}. Choose another "
            "--run.directory."
        ) from None


def _checked(config: Launch, directory: Path) -> Standing:
    refuse_if_held(directory)
    refuse_links(directory)
    standing = stand(config)
    if standing.over:
        return standing
    refuse_root(config)
    check_start(directory)
    refuse_unreadable(directory / "checkpoints")
    if not standing.begun and config.learner.run.init_from:
        _check_source(config)
    return standing


def refuse_root(config: Launch) -> None:
    """Raise UsageError where the default name would make a new directory in the root of the file system.

    Not where the user has named it, or it is there already: containers mount a volume at /runs.
    """
    directory = config.learner.run_directory
    top = Path(*directory.parts[:1])
    if not config.learner.run.directory and Path.cwd() == Path(Path.cwd().anchor) and not top.exists():
        raise UsageError(
            f"the working directory is {Path.cwd()}, and the run would make {top.absolute()} there: change to another "
            f"directory, or name one (--run.directory {directory.absolute()} is allowed)"
        )


def _check_source(config: Launch) -> None:
    """Raise UsageError unless the weights to begin from mean the same in these networks."""
    run = config.learner.run
    try:
        source = find_source(run.init_from, run.init_checkpoint)
    except (OSError, ValueError) as error:  # not to be read; a name that is none
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"run.init_from={printable(run.init_from)[:200]} cannot be read: {why}") from None
    theirs, ours = recorded_settings(source.run, type(config)), values_of(config)
    differing = [
        f"{path}: {theirs[path]} there, {ours[path]} here"
        for path in ours
        if path in MEANING or (path.startswith("network.") and path not in WITHOUT_MEANING)
        if not same(theirs[path], ours[path])
    ]
    if differing:
        refuse_source_of_other_spaces(source, env_settings(config.learner))  # the cause, where they differ too
        raise UsageError(
            f"run.init_from={source.run} has other networks ({'; '.join(differing)}): give the same settings"
        )


def check_hooks_of_finished(name: str, hooks: object | None = None) -> None:
    """Raise UsageError for hooks that a run which is over would not call, and a new one could not."""
    if name:
        check_hooks(name)
    if hooks is not None:
        from dppo.learner.hooks import hook_calls

        hook_calls(name, hooks)


def show_finished(standing: Standing) -> None:
    """Print how a run went that is over, and how to go on."""
    from dppo.local.run_summary import closing_text, saved_evaluation

    directory, view = standing.directory, host_view()
    summary = json.loads((directory / SUMMARY).read_bytes())
    print(fitted(f"{view.path(directory)} is finished; nothing was started and nothing changed"))
    print(fitted(closing_text({**summary, "reason": standing.over})))
    evaluation, progress = saved_evaluation(directory), newest_progress(directory)
    if evaluation is not None and progress is not None and evaluation.policy_version == progress.version:
        print(fitted(evaluation.summary()))
    solved = standing.over.startswith("solved")
    on = "--run.stop-at-target false or a higher --run.target-return" if solved else "a larger --run.total-steps"
    flags, free = " (in DPPO_ARGS)" if view.compose else "", view.path(free_directory(directory))
    another = f"another DPPO_RUNS for {view.start}" if view.compose else f"--run.new ({free}), --seeds"
    print(fitted(f"go on with it{flags}: {on}; begin another one: {another}"))
