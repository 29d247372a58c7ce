"""Log what fails again and again: the first, second, fourth, eighth ... time, and once when it works again."""

from collections.abc import Callable

from dppo.protocol.log_throttle import LogThrottle


class LogBackoff:
    """About several things, each by its name."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._throttle = LogThrottle(growth=2)

    def failed(self, what: str, why: object) -> None:
        """Count a failure, and log it if that is due."""
        if times := self._throttle.count(what):
            self._say(f"{why} ({times} times so far; training goes on)" if times > 1 else str(why))

    def worked(self, what: str) -> None:
        """Note a success, and log it after failures."""
        if self._throttle.forget(what):
            self._say(f"{what} can be written again")
