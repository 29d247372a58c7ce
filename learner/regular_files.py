"""Opening the files of a run directory: regular files only, and never through a symbolic link. Knows no formats.

A link in the place of one of them would have its target overwritten, and a pipe would block.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def open_own(path: Path, flags: int, mode: int = 0o644) -> int:
    """A descriptor of the regular file at `path`, closed in child processes. Raises OSError for anything else there."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link, and none is followed; remove it", str(path)) from None
        if error.errno == errno.ENXIO:
            raise _no_regular_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_regular_file(path)
    return descriptor


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError from within name the file: where writing fails, on a full disk, the system's names none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def why_not_writable(folder: Path) -> str:
    """Return why no file can be made in a folder that is there; "" where one can, as far as permissions say."""
    if os.access(folder, os.W_OK | os.X_OK):
        return ""
    return os.strerror(errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES)


def write_own(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace the content of the file, in place. Raises OSError, which names it."""
    with naming(path), open(open_own(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)


def first_link(directory: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these names in the directory that is a symbolic link, None where none is."""
    return next((directory / name for name in names if (directory / name).is_symlink()), None)


def _no_regular_file(path: Path) -> OSError:
    return OSError(errno.EINVAL, "it is no regular file; remove it", str(path))
