"""Start of Python in our processes: modules by name, whatever files the user has in the working directory."""

import contextlib
import os
import sys

SAFE_PATH = "-P"  # for `python -P -m dppo.actor`: the working directory does not come first on the path of modules


def append_working_directory() -> None:
    """Put the working directory last on the path of modules: users' environments are there, and hide nothing.

    Keeps silent where the directory is gone.
    """
    with contextlib.suppress(OSError):
        if "" not in sys.path and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
