"""A run opened for a start: its directory locked, its settings compared, kept and reported. Keeps no clock."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from dppo.learner.config import LearnerConfig
from dppo.learner.hooks import HookCalls
from dppo.learner.run import Run
from dppo.learner.storage.run_directory import RunDirectory
from dppo.learner.storage.settings_history import KeptSettings, keep_settings

if TYPE_CHECKING:
    from dppo.learner.group.group import Group

log = logging.getLogger("dppo.learner")


def open_run(
    config: LearnerConfig,
    settings: Callable[[], KeptSettings],
    *,
    launched_at: float,
    time_of_day: float,
    note: Callable[[str], None] = log.info,
    hooks: HookCalls | None = None,
    group: "Group | None" = None,
) -> Run:
    """The run as it goes on, or begins, in its directory. Close `run.directory` at the end.

    settings: what the directory is to keep. Called under its lock, before anything is written there; raises UsageError
    where the run in it is of other settings. group: of the learners, where there are several.
    """
    kept: list[KeptSettings] = []
    directory = RunDirectory.open(config.run_directory.absolute(), check=lambda: kept.append(settings()))
    try:
        run = Run(config, directory, launched_at, time_of_day, hooks, group)
        keep_settings(directory, kept[0], run.moment())
    except BaseException:
        directory.close()
        raise
    if kept[0].changes:
        note(f"changed since the last start: {'; '.join(map(str, kept[0].changes))}")
    return run
