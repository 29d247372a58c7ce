"""Lines that an actor writes on its own console now and then while work goes well. Pure; keeps no clock."""

LINE_SECONDS = 60.0
RUNNING = "running under policy "  # how each begins


class PolicyLines:
    """Lines of one actor about the policies that it acts with."""

    def __init__(self) -> None:
        self._term: int | None = None  # of the learner whose policies it acts with
        self._written_at = 0.0

    def loaded(self, *, term: int, version: int, steps: int, now: float) -> str:
        """Return a line about a policy that is in place, "" where there was one not long ago.

        term: changes with every start of the learner. steps: that this actor has made so far.
        """
        if term != self._term:
            line = f"{RUNNING}{version}"
        elif now - self._written_at >= LINE_SECONDS:
            line = f"{RUNNING}{version}; {steps:,} steps so far"
        else:
            return ""
        self._term, self._written_at = term, now
        return line
