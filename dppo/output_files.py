"""Files of results that are written at the end: whether they can be is known at the start. Knows paths only."""

import errno
import os
from pathlib import Path

from dppo.learner.regular_files import why_not_writable
from dppo.protocol.errors import UsageError


def check_output(output: str) -> None:
    """Raise UsageError where no file of this name can be written; "" is none, missing folders are made later."""
    if not output:
        return
    path = Path(output).absolute()
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if there == path:
        problem = os.strerror(errno.EISDIR) if path.is_dir() else why_not_writable(path.parent)
    else:
        problem = why_not_made(path.parent)
    if problem:
        raise UsageError(f"output {output} cannot be written: {problem}. Choose another --output.")


def why_not_made(folder: Path) -> str:
    """Return why no file can be made in a folder, made where it is missing; "" where one can."""
    folder = folder.absolute()
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    return why_not_writable(there) if there.is_dir() else os.strerror(errno.ENOTDIR)
