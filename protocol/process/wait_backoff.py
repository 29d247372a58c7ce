"""Times to report a wait: after a few seconds, then at doubling intervals. Keeps no clock."""

from dataclasses import dataclass
from typing import Any

MAX_USUAL_SECONDS = 60.0


@dataclass
class WaitBackoff:
    """Watches what one side waits for, one thing at a time."""

    first_seconds: float
    usual_seconds: float = (
        0.0  # the longest wait that ended by itself and was allowed to count: longer ones are reported
    )
    _what: Any = None
    _since: float = 0.0
    _report_at: float = 0.0
    is_reported: bool = False  # of the present wait

    def look(self, what: Any, now: float) -> float | None:
        """Return the seconds that the wait for `what` has lasted if a report is due, else None. what: None: no wait."""
        if what != self._what:
            self._what, self._since, self.is_reported = what, now, False
            self._report_at = now + max(self.first_seconds, 2 * self.usual_seconds)
        if what is None or now < self._report_at:
            return None
        waited = now - self._since
        self._report_at, self.is_reported = now + waited, True
        return waited

    def was_usual(self, now: float) -> None:
        """The present wait ends as it should: waits of this length are not reported from now on."""
        if self._what is not None:
            self.usual_seconds = max(self.usual_seconds, min(MAX_USUAL_SECONDS, now - self._since))
