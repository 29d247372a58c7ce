"""Put back what an environment in our own process may change for all that comes after it. Knows no environments."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def kept_surroundings() -> Iterator[None]:
    """Put back, on leaving, the working directory, the umask, standard output and error with their files, and which
    lines are logged where.

    Environments silence a noisy library by replacing them, and some forget to undo it: results would go nowhere. Or
    they log everything, and matplotlib's lines would stand between results.
    """
    directory = ""
    with contextlib.suppress(OSError):  # it is gone
        directory = os.getcwd()
    mask = os.umask(0o077)
    os.umask(mask)
    streams = sys.stdout, sys.stderr
    level, handlers, disabled = logging.root.level, list(logging.root.handlers), logging.root.manager.disable
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
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers
        logging.disable(disabled)
        with contextlib.suppress(OSError, ValueError, AttributeError):  # whatever stands there now
            sys.stdout.flush()
        for descriptor, copy in copies.items():
            os.dup2(copy, descriptor)
            os.close(copy)
        sys.stdout, sys.stderr = _open(streams[0], 1), _open(streams[1], 2)


def _open(stream: TextIO | None, descriptor: int) -> TextIO | None:
    """The stream, or another one of that file where it was closed; None where Python found none at its start."""
    if stream is None or not stream.closed:
        return stream
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
