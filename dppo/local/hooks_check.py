"""Finds a run's hooks and trackers before anything is started, in a process of its own: their module may do anything.

Usage: python -m dppo.local.hooks_check hooks|tracker MODULE:CLASS.
"""

import sys

from dppo.local.own_code_check import check_elsewhere, checked

IMPORT_SECONDS = 60.0


def check_hooks(name: str) -> None:
    """Raise UsageError, in one line, where a process of ours would not find them."""
    arguments = ["-m", "dppo.local.hooks_check", "hooks", name]
    check_elsewhere(arguments, f"run.hooks={name}: importing it", seconds=IMPORT_SECONDS)


def check_tracker(name: str) -> None:
    """Raise UsageError, in one line, where a process of ours would not find it, or it lacks a method."""
    arguments = ["-m", "dppo.local.hooks_check", "tracker", name]
    check_elsewhere(arguments, f"run.trackers={name}: importing it", seconds=IMPORT_SECONDS)


def _find(what: str, name: str) -> None:
    if what == "hooks":
        from dppo.learner.hooks import find

        find(name)
    else:
        from dppo.learner.telemetry.trackers import find_tracker

        find_tracker(name)


if __name__ == "__main__":
    sys.exit(checked(lambda: _find(sys.argv[1], sys.argv[2])))
