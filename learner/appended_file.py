"""A file that grows by whole records. Knows nothing of what is in them."""

import os
from pathlib import Path

from dppo.learner.regular_files import naming, open_own


class AppendedFile:
    """A file that grows by whole records: one that fails halfway is taken back, so that the next is readable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def append(self, record: bytes) -> None:
        """Write all of it or nothing; visible to readers when this returns. Raises OSError, which names the file."""
        if self._descriptor < 0:
            self._descriptor = open_own(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        rest = memoryview(record)
        try:
            with naming(self._path):
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            if len(rest) < len(record):
                os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - (len(record) - len(rest)))
            raise

    def close(self) -> None:
        """A later append opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
