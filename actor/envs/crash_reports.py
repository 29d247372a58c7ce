"""Crashes worth a report: the first of each kind, the tenth, the hundredth and so on. All are counted."""

import traceback

from dppo.actor.envs.interface import Crash
from dppo.actor.envs.returned_values import BrokenContract, RaisedInProcess
from dppo.actor.watchdog.traceback_location import place_of_error
from dppo.protocol.log_throttle import LogThrottle
from dppo.protocol.texts import MAX_TEXT

MAX_KINDS = 64  # an environment could raise a new kind at every step


class CrashReports:
    """Crash reports of the environments of one actor."""

    def __init__(self) -> None:
        self._throttle = LogThrottle(growth=10, max_kinds=MAX_KINDS)

    def line_for(self, crash: Crash) -> str:
        """Return the line for the user, "" where it is nothing new."""
        times = self._throttle.count(_kind(crash.error))
        if not times:
            return ""
        count = f"; {times} times so far" if times > 1 else ""
        line = " ".join(str(crash).split())
        return line[: MAX_TEXT - len(count)] + count

    def traceback_of(self, crash: Crash) -> str:
        """Return the traceback, for the log; "" of what was found out here, whose line says all."""
        if isinstance(crash.error, BrokenContract | RaisedInProcess):  # of the latter Gymnasium has logged its stack
            return ""
        return "".join(traceback.format_exception(crash.error)).rstrip()


def _kind(error: BaseException) -> str:
    """Return type and place: texts may hold numbers that differ."""
    if isinstance(error, RaisedInProcess):
        line = str(error)
        return f"{line.partition(':')[0]} {line.rpartition('(')[2]}"
    return f"{type(error).__name__} {place_of_error(error)}"
