"""The policy of the update with the best mean return, as a file to play. Knows graphs as bytes; knows no training.

The graph of every better update is kept in memory and written with a checkpoint, whose record of the best return it
belongs to, at most once a second: early in training almost every update is the best so far.
"""

import math
from pathlib import Path

from dppo.learner.atomic_files import replace_file
from dppo.learner.telemetry.log_backoff import LogBackoff

BEST_POLICY_FILE = "policy-best.onnx"
PAUSE_SECONDS = 1.0  # between two writes: one takes about 1 ms


class BestPolicy:
    """Best policy of one run directory."""

    def __init__(self, directory: Path, failures: LogBackoff, mean_return: float | None, update: int) -> None:
        """mean_return, update: of the checkpoint that the run goes on from; without their file they do not count."""
        self._file = directory / BEST_POLICY_FILE
        has_file = mean_return is not None and self._file.is_file()
        self.written = (mean_return, update) if has_file else (None, 0)  # what the file holds
        self._best = self.written
        self._failures = failures
        self._graph: bytes | None = None  # to be written
        self._written_at = -math.inf

    def offer(self, update: int, mean_return: float | None, graph: bytes) -> None:
        """Take note of an update. mean_return: None where too few episodes are over to judge by."""
        best, _ = self._best
        if mean_return is None or (best is not None and not mean_return > best):
            return
        self._best, self._graph = (mean_return, update), graph

    def write(self, now: float = math.inf) -> None:
        """Replace the file if there is a better policy; a full disk is reported, and the next call tries again.

        now: a time; without one it is written whenever that was done last.
        """
        if self._graph is None or now - self._written_at < PAUSE_SECONDS:
            return
        from dppo.learner.models.onnx_export import with_metadata

        mean_return, update = self._best
        notes = {"dppo.update": str(update), "dppo.mean_return": repr(mean_return)}
        try:
            replace_file(self._file, with_metadata(self._graph, notes))
        except OSError as error:
            self._failures.failed(BEST_POLICY_FILE, f"{BEST_POLICY_FILE} could not be written: {error.strerror}")
        else:
            self._graph, self.written = None, self._best
            self._written_at = now if math.isfinite(now) else self._written_at
            self._failures.worked(BEST_POLICY_FILE)
