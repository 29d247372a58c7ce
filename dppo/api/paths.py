"""Paths as users give them: text, or anything with a path."""

import os

from dppo.protocol.errors import UsageError


def path_text(path: object, argument: str, wanted: str = "a path, as text or pathlib.Path") -> str:
    """Return the path as text, with the home in the place of ~/. Raises UsageError where it is something else."""
    if isinstance(path, str):
        return os.path.expanduser(path) if path.startswith("~/") else path
    text = os.fspath(path) if isinstance(path, os.PathLike) else None
    if not isinstance(text, str):
        raise UsageError(f"{argument} is of type {type(path).__name__}: give {wanted}")
    return text
