"""A file with a secret that the user has named: read, and refused where others can read it too."""

import os
import stat
from pathlib import Path

from dppo.protocol.errors import UsageError

_MAX_BYTES = 65536


def read_secret(setting: str, path: Path) -> str | None:
    """Return its text, None where it is not there.

    A symbolic link is followed, and the group may read: that is how container engines hand out secrets. setting: by
    which the user has named it. Raises UsageError where others can read it, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{setting}={path} cannot be read: {error.strerror or error}") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        os.close(descriptor)
        raise UsageError(f"{setting}={path} is a directory: give the file in it")
    with open(descriptor, "rb") as file:
        if stat.S_ISREG(mode) and mode & 0o027:
            raise UsageError(
                f"{setting}={path} is open to others (mode {stat.S_IMODE(mode):03o}), and it is a secret: chmod 600 it"
            )
        try:
            return file.read(_MAX_BYTES).decode()
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"{setting}={path} is not a text file") from None
