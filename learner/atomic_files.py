"""Replacing a file so that a crash leaves the old content or the new, never a mixture. Knows nothing of what is in it.

One writer per file is assumed (the lock on the run directory sees to that), so temporaries have fixed names and a dead
writer's is overwritten by the next.
"""

import contextlib
import os
from pathlib import Path

from dppo.learner.regular_files import naming, open_own

_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def replace_file(path: Path, content: bytes) -> None:
    """Atomic for readers and for a crash of this process, not for a power failure. Raises OSError."""
    temporary = _temporary(path)
    try:
        with naming(path), open(open_own(temporary, _ANEW), "wb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError:  # on a full disk, what could be written of it would keep the disk full
        remove_unfinished(temporary)
        raise


def replace_file_durably(path: Path, content: bytes) -> None:
    """Replace as replace_file does, and durably: costs two fsyncs. Raises OSError."""
    temporary = _temporary(path)
    try:
        with naming(path):
            write_durably(temporary, content)
        temporary.replace(path)
    except OSError:
        remove_unfinished(temporary)
        raise
    sync_directory(path.parent)


def write_durably(path: Path, content: bytes) -> None:
    """A new file whose content is on the disk when this returns; its name is only after sync_directory."""
    with open(open_own(path, _ANEW), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Put the directory's own entries (created, renamed, removed names) on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(temporary: Path) -> None:
    """Remove what was written; not what others have laid there, which is why writing failed."""
    with contextlib.suppress(OSError):
        if temporary.is_file() and not temporary.is_symlink():
            temporary.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")
