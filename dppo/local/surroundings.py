"""Put back what an environment in our own process may change for all that comes after it. Knows no environments."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def kept_surroundings() -> Iterator[None]:
    """Put back, on leaving, the working directory, the umask, and standard output and error with their files.

    Environments silence a noisy library by replacing them, and some forget to undo it: results would go nowhere.
    """
    directory = ""
    with contextlib.suppress(OSError):  # it is gone
        directory = os.getcwd()
    mask = os.umask(0o077)
    os.umask(mask)
    streams = sys.stdout, sys.stderr
    copies: dict[int, int] = {}
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # closed by the program that started us
            copies[descriptor] = os.dup(descriptor)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # gone meanwhile
            if directory:
                os.chdir(directory)
        os.umask(mask)
        with contextlib.suppress(OSError, ValueError, AttributeError):  # whatever stands there now
            sys.stdout.flush()
        for descriptor, copy in copies.items():
            os.dup2(copy, descriptor)
            os.close(copy)
        sys.stdout, sys.stderr = _open(streams[0], 1), _open(streams[1], 2)


def _open(stream: TextIO, descriptor: int) -> TextIO:
    """The stream, or another one of that file where it was closed."""
    if not stream.closed:
        return stream
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
