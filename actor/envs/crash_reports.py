"""Crashes worth a report: the first of each kind, the tenth, the hundredth and so on. All are counted."""

import traceback
from collections import Counter

from dppo.actor.envs.interface import Crash
from dppo.actor.watchdog.traceback_location import place_of_error
from dppo.protocol.texts import MAX_TEXT

MAX_KINDS = 64  # an environment could raise a new kind at every step


class CrashReports:
    """Crash reports of the environments of one actor."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()  # by type and place: texts may hold numbers that differ

    def line_for(self, crash: Crash) -> str:
        """Return the line for the user, "" where it is nothing new."""
        kind = type(crash.error).__name__, place_of_error(crash.error)
        if kind not in self._seen and len(self._seen) >= MAX_KINDS:
            return ""
        self._seen[kind] += 1
        times = self._seen[kind]
        if str(times).strip("0") != "1":
            return ""
        count = f"; {times} times so far" if times > 1 else ""
        line = " ".join(str(crash).split())
        return line[: MAX_TEXT - len(count)] + count

    def traceback_of(self, crash: Crash) -> str:
        """Return the traceback, for the log."""
        return "".join(traceback.format_exception(crash.error)).rstrip()
