"""Seconds since the first start of a run, of the events of a trace. Knows events; reads no clock."""

from dppo.ops.trace_reader import TraceEvent


class RunClock:
    """Times of one trace on one axis, over all starts of its process.

    Within a start, differences are those of the process's own clock. From one start to the next, and between learners
    on several hosts, times of day are compared. Never leads back, also where a clock was set back.
    """

    def __init__(self, origin: float | None = None) -> None:
        """origin: time of day at 0 s; None: that of the first line which has one."""
        self.origin = origin
        self.now = 0.0  # of the newest event
        self._offset: float | None = None
        self._has_begun = False

    def at(self, event: TraceEvent) -> float:
        """Return the seconds of the next event of the trace."""
        if event.event == "begin" or (event.event == "goes on" and self._offset is None):
            self._begin(event)
        elif self._offset is None:  # the beginning of the file is lost
            self._offset = self.now - event.time
        self.now = max(self.now, event.time + (self._offset or 0.0))
        self._has_begun = True
        return self.now

    def _begin(self, event: TraceEvent) -> None:
        day = event.fields.get("time_of_day")
        if not isinstance(day, int | float):
            self._offset = self.now - event.time
            return
        if self.origin is None:
            self.origin = day - self.now
        begins = day - self.origin
        self._offset = (max(begins, self.now) if self._has_begun else begins) - event.time
