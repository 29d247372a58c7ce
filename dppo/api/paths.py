"""Paths as users give them: text, or anything with a path."""

import os

from dppo.protocol.errors import UsageError


def path_text(path: object, argument: str, wanted: str = "a path, as text or pathlib.Path") -> str:
    """Return the path as text, with the home in the place of ~/. Raises UsageError where it is something else."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise UsageError(f"{argument} is of type {type(path).__name__}: give {wanted}")
    if "\0" in text:
        raise UsageError(f"{argument}={text!r} has a null byte in it, which no path has: give {wanted}")
    return os.path.expanduser(text) if text.startswith("~/") else text
