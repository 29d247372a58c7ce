"""Finds a run's hooks before anything is started, in a process of its own: a user's module may do anything.

Usage: python -m dppo.local.hooks_check MODULE:CLASS.
"""

import sys

from dppo.local.own_code_check import check_elsewhere, checked

IMPORT_SECONDS = 60.0


def check_hooks(name: str) -> None:
    """Raise UsageError, in one line, where a process of ours would not find them."""
    arguments = ["-m", "dppo.local.hooks_check", name]
    check_elsewhere(arguments, f"run.hooks={name}: importing it", seconds=IMPORT_SECONDS)


def _find(name: str) -> None:
    from dppo.learner.hooks import find

    find(name)


if __name__ == "__main__":
    sys.exit(checked(lambda: _find(sys.argv[1])))
