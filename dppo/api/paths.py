"""Paths as users give them: text, or anything with a path."""

import os

from dppo.protocol.errors import UsageError


def path_text(path: object, argument: str, wanted: str = "a path, as text or pathlib.Path") -> str:
    """Return the path as text. Raises UsageError where it is something else."""
    if isinstance(path, str):
        return path
    text = os.fspath(path) if isinstance(path, os.PathLike) else None
    if not isinstance(text, str):
        raise UsageError(f"{argument} is of type {type(path).__name__}: give {wanted}")
    return text
