"""Log repeated failures with exponential back-off: the first, second, fourth, eighth ... time."""

from collections.abc import Callable


class LogBackoff:
    """About several things, each by its name."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._times: dict[str, int] = {}

    def failed(self, what: str, why: object) -> None:
        """Count a failure, and log it if that is due."""
        times = self._times[what] = self._times.get(what, 0) + 1
        if times & (times - 1) == 0:
            self._say(f"{why} ({times} times so far; training goes on)" if times > 1 else str(why))

    def worked(self, what: str) -> None:
        """Note a success, and log it after failures."""
        if self._times.pop(what, 0):
            self._say(f"{what} can be written again")
