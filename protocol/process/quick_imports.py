"""Imports without garbage collection: modules make hundreds of thousands of objects, and next to no garbage.

Of PyTorch's import it is an eighth of the time. Knows only Python's collector.
"""

import contextlib
import gc
from collections.abc import Iterator

_is_own = False  # this process: what it imports is there for all its life


def hold_collector() -> None:
    """Begin the start of a process of our own: nothing is collected until `release_collector`."""
    global _is_own
    _is_own = True
    gc.disable()


def release_collector() -> None:
    """End a start: what a process of our own has by now is never looked through again."""
    if _is_own:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import what takes long, in whichever process: afterwards it collects as before."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            release_collector()
            gc.enable()
