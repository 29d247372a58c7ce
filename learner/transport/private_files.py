"""Files that only their owner may read: made, replaced as a whole, and read. Knows nothing of what is in them."""

import os
import stat
from pathlib import Path

from dppo.learner.atomic_files import sync_directory
from dppo.protocol.errors import UsageError

MAX_FILE_BYTES = 2**24


def check_private(path: Path, status: os.stat_result, cure: str) -> None:
    """Raise UsageError where others may use it, or it belongs to another user. cure: command against the first."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise UsageError(f"{path} is open to others (mode {mode:03o}), and so are the keys: {cure} {path}")
    if status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
        raise UsageError(f"{path} belongs to another user: run this command as its owner")


def read_private(path: Path) -> bytes:
    """A private file. Raises UsageError where it is not private, FileNotFoundError where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    with open(descriptor, "rb") as file:
        check_private(path, os.fstat(descriptor), "chmod 600")
        return file.read(MAX_FILE_BYTES)


def write_new(path: Path, content: bytes) -> None:
    """Make a file that only its owner can read. Raises FileExistsError where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            if os.geteuid() == 0:  # `docker exec`, say: the learner must be able to read it
                owner = path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)  # half a key would be taken for a damaged one
        raise
    sync_directory(path.parent)


def replace_private(path: Path, content: bytes) -> None:
    """The old content or the new, never a mixture, and private from the first byte."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        write_new(temporary, content)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    sync_directory(path.parent)
