"""The curves of a run: one JSON line per update, and TensorBoard scalars. Knows files; knows no training.

Nothing here may stop a run: what cannot be written is reported once and left out.
"""

import functools
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dppo.learner.appended_file import AppendedFile
from dppo.learner.config import LearnerConfig, settings_by_path
from dppo.learner.regular_files import open_own
from dppo.learner.telemetry.status import OWN_METRICS
from dppo.learner.telemetry.tags import tag_of
from dppo.learner.telemetry.tensorboard_records import (
    first_records,
    graph_record,
    scalars_record,
    settings_record,
)
from dppo.learner.telemetry.trackers import TrackedRun
from dppo.learner.telemetry.tracking import Tracking

METRICS_FILE = "metrics.jsonl"
EVENTS_DIRECTORY = "tb"


def writer_of(config: LearnerConfig, directory: Path, warn: Callable[[str], None]) -> "MetricsWriter":
    """Return the writer of a run in that directory, with its trackers."""
    run, settings = config.run, settings_by_path(config)
    told = functools.partial(TrackedRun, run.project, directory.name, directory, settings)
    tracking = Tracking(run.trackers, told, warn) if run.trackers else None
    return MetricsWriter(directory, run.tensorboard, warn, settings, tracking)


def key_of(name: str) -> str:
    """Return a grouped name as the JSON line has it: `kl` for "update/kl", and the user's own as they are."""
    return name if name.startswith(OWN_METRICS) else name.rpartition("/")[2]


class MetricsWriter:
    """Appends to `metrics.jsonl` and, if asked to, to a new event file in `tb/`.

    Call `resume_from` once before the first `write`. Files are opened and TensorBoard's messages imported at the first
    write, which comes after the first update: neither delays the start.
    """

    def __init__(
        self,
        run_directory: Path,
        tensorboard: bool,
        warn: Callable[[str], None],
        settings: Mapping[str, Any] | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        """settings: of the run, by path, for TensorBoard; None: it is not told them. tracking: told the curves too."""
        self._tracking = tracking
        self._settings = settings
        self._directory = run_directory
        self._lines = AppendedFile(run_directory / METRICS_FILE)
        self._events: AppendedFile | None = None  # None: not wanted, not possible, or not begun
        self._events_head = b""  # what must stand before the first event; empty once it does
        self._tensorboard = tensorboard
        self._resumed_steps = -1  # of the newest update that stays, -1: none
        self._warn = warn
        self._warned: set[tuple[str, object]] = set()

    def resume_from(self, update: int) -> None:
        """Forget what was written for updates after `update` (0: all) by a learner that died after its checkpoint.

        They are trained again, and no update shall be in the curve twice. A line torn by a crash goes as well.
        """
        try:
            self._resumed_steps = _cut_after(self._directory / METRICS_FILE, update)
        except OSError as error:
            self._report(METRICS_FILE, error)

    def write(self, update: int, steps: int, elapsed_seconds: float, values: Mapping[str, float]) -> None:
        """One update. `values` by grouped name: "update/kl" is `kl` in the JSON line, "train/kl" in TensorBoard.

        `steps` (trained so far) is TensorBoard's x axis. Values that are not finite become null in JSON. Raises
        ValueError where two names end alike, since one would hide the other.
        """
        line: dict[str, float | None] = {"update": update, "steps": steps, "elapsed_seconds": round(elapsed_seconds, 3)}
        for name, value in values.items():
            key = key_of(name)
            if key in line:
                raise ValueError(f"two metrics end in {key!r} (one is {name!r}): rename one, a line has one {key!r}")
            line[key] = float(value) if math.isfinite(value) else None
        try:
            self._lines.append(json.dumps(line, allow_nan=False).encode() + b"\n")
        except OSError as error:
            self._report(METRICS_FILE, error)
        if self._tensorboard:
            self._write_events(steps, values)
        if self._tracking is not None:
            self._tracking.log(steps, {tag_of(name): float(value) for name, value in values.items()})

    def write_graph(self, graph: Callable[[], bytes]) -> None:
        """The networks for TensorBoard's Graphs tab: what `graph` returns, a serialised tensorflow.GraphDef."""
        if not self._tensorboard:
            return
        try:
            self._append_event(graph_record(time.time(), graph()))
        except RuntimeError as error:  # a network that PyTorch cannot trace can still be trained
            self._warn(f"no graph of the networks in TensorBoard: {error}")

    def close(self) -> None:
        """Close the files; all is in them (as it is after every write)."""
        self._lines.close()
        if self._tracking is not None:
            self._tracking.close()
        if self._events is not None:
            self._events.close()

    def _write_events(self, steps: int, values: Mapping[str, float]) -> None:
        try:
            self._append_event(
                scalars_record(time.time(), steps, {tag_of(name): float(value) for name, value in values.items()})
            )
        except ImportError as error:
            self._tensorboard = False
            self._warn(f"no TensorBoard events: {error}. Install dppo[learner] or set run.tensorboard to false.")

    def _append_event(self, event: bytes) -> None:
        now = time.time()
        try:
            if self._events is None:
                self._events_head = first_records(now, from_step=self._resumed_steps + 1)
                if self._settings is not None:
                    self._events_head += settings_record(now, self._settings)
                self._events = self._new_event_file(now)
            self._events.append(self._events_head + event)
            self._events_head = b""
        except OSError as error:
            self._report("TensorBoard events", error)

    def _new_event_file(self, now: float) -> AppendedFile:
        directory = self._directory / EVENTS_DIRECTORY
        directory.mkdir(exist_ok=True)
        # readers go through the files by name: the count keeps two starts within one second in order
        count = sum(1 for _ in directory.iterdir())
        return AppendedFile(directory / f"events.out.tfevents.{int(now):010d}.{count:04d}")

    def _report(self, what: str, error: OSError) -> None:
        if (what, error.errno) not in self._warned:
            self._warned.add((what, error.errno))
            self._warn(
                f"{what} in {self._directory} could not be written: {error.strerror or error}. Training goes on; "
                "the curve has a gap until there is space or permission again."
            )


def _cut_after(file: Path, update: int) -> int:
    """Truncate a metrics file behind the line of `update`; return that line's steps, -1 if none is left.

    From the end, because a long run's file is long and what goes is little: updates only grow.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return -1
    end = len(content)
    while end > 0:
        start = content.rfind(b"\n", 0, end - 1) + 1
        if content[end - 1 : end] == b"\n" and (line := _update_and_steps(content[start:end])) and line[0] <= update:
            break
        end = start
    if end < len(content):
        descriptor = open_own(file, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, end)
        finally:
            os.close(descriptor)
    return line[1] if end > 0 and line else -1


def _update_and_steps(line: bytes) -> tuple[int, int] | None:
    try:
        values = json.loads(line)
        return int(values["update"]), int(values["steps"])
    except (ValueError, TypeError, KeyError):
        return None
