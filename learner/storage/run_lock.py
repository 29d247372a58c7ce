"""The lock on a run directory: on the directory itself and on its file `lock`, and still there while the run goes on.

The directory's own inode cannot be deleted while a learner writes into it, as the file can; the file says which process
it is, and is all that there is on file systems that lock no directories (NFS). Knows nothing else of the directory.
"""

import errno
import fcntl
import os
import socket
from pathlib import Path

from dppo.learner.regular_files import open_own
from dppo.protocol.errors import DppoError, RefusedError, UsageError

LOCK_FILE = "lock"
CHECK_SECONDS = 0.5

_NOT_FOR_DIRECTORIES = (errno.EBADF, errno.EINVAL, errno.EISDIR, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class RunLock:
    """Held from its making to `release` or to the death of this process."""

    def __init__(self, path: Path) -> None:
        """Raises RefusedError where another learner has the directory, UsageError where nothing can be locked there."""
        self._path = path
        self._checked_at = 0.0
        self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._file = -1
        try:
            self._locks_directory = self._lock_directory()
            self._file = self._lock_file()
        except BaseException:
            self._close()
            raise

    def check(self, now: float) -> None:
        """Raise DppoError where the directory at this path is no longer the one that is locked. Looks twice a second.

        Deleted, renamed or replaced: another learner may have what is there now, so nothing more may be written.
        """
        if now - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = now
        if not self._is_at(self._path, self._directory):
            why = "it was moved, deleted or replaced"
        elif not self._locks_directory and not self._is_at(self._path / LOCK_FILE, self._file):
            why = f"its file {LOCK_FILE} was deleted or replaced"
        else:
            return
        raise DppoError(
            f"run directory {self._path} is no longer this learner's: {why}. Nothing more is written to it; put it "
            "back and start the same command again."
        )

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Descriptors of the locked directory and file."""
        return (self._directory, self._file)

    def release(self) -> None:
        """Another learner may open the directory from here on."""
        for descriptor in self.descriptors:
            if descriptor >= 0:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone would leave it with a forked child
        self._close()

    def _lock_directory(self) -> bool:
        """Returns whether this file system can."""
        try:
            self._take(self._directory)
        except OSError as error:
            if error.errno in (*_NOT_FOR_DIRECTORIES, *_NO_LOCKS):
                return False
            raise
        return True

    def _lock_file(self) -> int:
        path = self._path / LOCK_FILE
        while True:
            descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
            try:
                self._take(descriptor)
                if self._is_at(path, descriptor):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
                    return descriptor
            except OSError as error:
                os.close(descriptor)
                if error.errno in _NO_LOCKS and self._locks_directory:
                    return -1
                if error.errno in _NO_LOCKS:
                    raise UsageError(
                        f"run directory {self._path} is on a file system without locks ({error.strerror}), so a second "
                        "learner could not be kept out: choose a run.directory on a local disk"
                    ) from None
                raise
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # deleted since it was opened: take the one that is there now

    def _take(self, descriptor: int) -> None:
        _take(self._path, descriptor)

    @staticmethod
    def _is_at(path: Path, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(path), os.fstat(descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # a file system that does not answer for a moment has not given the lock away
            return True

    def _close(self) -> None:
        for descriptor in self.descriptors:
            if descriptor >= 0:
                os.close(descriptor)


def refuse_if_held(path: Path) -> None:
    """Raise RefusedError where a learner has the directory now. Writes nothing, and holds the lock for a moment."""
    for place in (path, path / LOCK_FILE):
        try:
            descriptor = (
                os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                if place == path
                else open_own(place, os.O_RDONLY)
            )
        except OSError:  # there is none yet, or not for us: the start says so
            continue
        try:
            _take(path, descriptor, fcntl.LOCK_SH)
        except OSError as error:
            if error.errno not in (*_NOT_FOR_DIRECTORIES, *_NO_LOCKS):
                raise
        finally:
            os.close(descriptor)


def _take(path: Path, descriptor: int, kind: int = fcntl.LOCK_EX) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RefusedError(
            f"run directory {path} belongs to the learner with {_holder(path)}, which is running: stop that one or "
            "choose another run.directory"
        ) from None


def _holder(path: Path) -> str:
    try:
        with open(open_own(path / LOCK_FILE, os.O_RDONLY), "rb") as file:
            return file.read(256).decode(errors="replace").strip() or "an unknown pid"
    except OSError:
        return "an unknown pid"
