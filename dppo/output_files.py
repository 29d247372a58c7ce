"""Files of results that are written at the end: whether they can be is known at the start. Knows paths only."""

import errno
import os
from pathlib import Path

from dppo.protocol.errors import UsageError


def check_output(output: str) -> None:
    """Raise UsageError where no file of this name can be written; "" is none, missing folders are made later."""
    if not output:
        return
    path = Path(output).absolute()
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    problem = 0
    if there == path:
        problem = errno.EISDIR if path.is_dir() else 0
    elif not there.is_dir():
        problem = errno.ENOTDIR
    if not problem and not os.access(there, os.W_OK):
        problem = errno.EACCES
    if problem:
        raise UsageError(f"output {output} cannot be written: {os.strerror(problem)}. Choose another --output.")
