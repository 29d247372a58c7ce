"""Conditions of a machine that end a command, as one line: what is full, forbidden or used up, and what to do.

For errors that nothing has handled on the way: what is no such condition is a bug, and keeps its traceback.
"""

import errno
import os

_ALLOWED = "give this user the permission, or choose another place"
_WRITABLE = "make it writable, or choose another place"
_SPACE = "free space there, or choose another place"
_FILES = "raise the limit (ulimit -n), or take fewer --actors and environments"
_MEMORY = "take fewer --actors and environments, free memory, or raise the limit (ulimit -v)"
TO_DO = {
    errno.EACCES: _ALLOWED,
    errno.EPERM: _ALLOWED,
    errno.EROFS: _WRITABLE,
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "raise the limit (ulimit -f), or choose another place",
    errno.EIO: "look after that disk, or choose another place",
    errno.ESTALE: "mount that file system again, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "remove the links that lead to each other, or choose another place",
    errno.EMFILE: _FILES,
    errno.ENFILE: "end other programs, or take fewer --actors and environments",
    errno.ENOMEM: _MEMORY,
    errno.EAGAIN: "raise the limit on processes and threads (ulimit -u), or take fewer --actors and environments",
}
NO_TEMPORARY = "No usable temporary directory"  # of Python's tempfile


def to_do(error: OSError) -> str:
    """Return what to do about a file that cannot be written."""
    return TO_DO.get(error.errno or 0, _WRITABLE)


def _working_directory_is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def trouble(error: BaseException) -> str:
    """Return the line for it; "" where it is no condition of the machine."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {_MEMORY}"
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return f"no thread can be started: {TO_DO[errno.EAGAIN]}"
    if isinstance(error, ImportError) and "map segment" in str(error):  # of a library, into memory
        return f"{error}: there is not enough memory ({_MEMORY}), or no program may run from where it is (noexec)"
    number = getattr(error, "errno", None)  # ZMQError has one, and is no OSError
    if isinstance(error, OSError) and error.filename is None and str(error.strerror).startswith(NO_TEMPORARY):
        return "there is no place for temporary files: set TMPDIR to a folder that can be written to"
    if isinstance(error, FileNotFoundError) and error.filename is None and _working_directory_is_gone():
        return "the working directory has been removed: change to another one"
    if number not in TO_DO:
        return ""
    what = getattr(error, "strerror", None) or error
    where = f"{name}: " if (name := getattr(error, "filename", None)) else ""
    return f"{where}{what}; {TO_DO[number]}"
