"""Start of Python in our processes: modules by name, whatever files the user has in the working directory."""

import contextlib
import os
import sys

SAFE_PATH = "-P"  # for `python -P -m dppo.actor`: the working directory does not come first on the path of modules


MODULE_PATH_VARIABLE = "_DPPO_MODULE_PATH"  # folders that a program of the user's has modules in; not DPPO_: no setting


def append_working_directory() -> None:
    """Put the working directory last on the path of modules: users' environments are there, and hide nothing.

    Behind it come the folders of the program that has started the run, if there is one. Keeps silent where the
    directory is gone.
    """
    with contextlib.suppress(OSError):
        if "" not in sys.path and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
    for folder in os.environ.get(MODULE_PATH_VARIABLE, "").split(os.pathsep):
        if folder and folder not in sys.path:
            sys.path.append(folder)


def module_path() -> str:
    """Return this program's path of modules as MODULE_PATH_VARIABLE has it, for the processes of a run."""
    folders = dict.fromkeys(os.path.abspath(entry) for entry in sys.path)  # "": the working directory
    return os.pathsep.join(folder for folder in folders if os.path.isdir(folder))
