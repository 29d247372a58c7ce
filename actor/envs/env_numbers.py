"""Numbers of an environment: slot, actor and column, in variables while it is made; and patience with a predecessor
that is still dying and holds its port.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from dppo.protocol.errors import DppoError
from dppo.protocol.placeholders import Numbers
from dppo.protocol.texts import error_text

VARIABLES = ("DPPO_SLOT", "DPPO_ACTOR", "DPPO_COLUMN")
FIRST_IN_USE_SECONDS = 2.0  # for what should be free: then another program has it
IN_USE_SECONDS = 15.0  # for what a process of ours had, which may be dying
LOOK_SECONDS = 0.2
_IN_USE = (errno.EADDRINUSE, errno.EBUSY, errno.EAGAIN)

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Place:
    """Place of an actor's environments in the run: slots first_slot .. first_slot + E - 1."""

    actor: str = "none"
    first_slot: int = 0
    is_taken_over: bool = False  # its slots had another holder, whose process may still be dying

    def of(self, column: int) -> Numbers:
        """Return the numbers of the environment in that column."""
        return Numbers(self.first_slot + column, self.actor, column)


def set_variables(numbers: Numbers) -> None:
    """Set the variables for environments that read them, and for the processes that they start."""
    os.environ.update(zip(VARIABLES, (str(numbers.slot), numbers.actor, str(numbers.column)), strict=True))


@contextlib.contextmanager
def variables(numbers: Numbers) -> Iterator[None]:
    """The variables within the block; afterwards as they were."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    set_variables(numbers)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def made_once_free(make: Callable[[], _Made], seconds: float) -> _Made:
    """Return the result of `make`; try again for at most `seconds` where a port, a file or a device is in use."""
    for _ in range(round(seconds / LOOK_SECONDS)):
        try:
            return make()
        except (DppoError, KeyboardInterrupt):
            raise
        except BaseException as error:
            if not is_in_use(error):
                raise
        time.sleep(LOOK_SECONDS)
    return make()


def is_in_use(error: BaseException | None) -> bool:
    """Whether it, or what caused it, says that something is taken."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if (isinstance(error, OSError) and error.errno in _IN_USE) or "already in use" in error_text(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False
