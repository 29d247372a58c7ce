"""Hands the curves of a run to trackers in a thread of its own: a service that is slow or away holds up no training."""

import json
import math
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dppo.learner.atomic_files import replace_file
from dppo.learner.own_code import in_a_line
from dppo.learner.telemetry.trackers import TrackedRun, Tracker, make_tracker

KNOWN_FILE = "trackers.json"
MOST_WAITING = 1_000  # updates; more are left out, and counted
END_SECONDS = 60.0  # for what is left at the end

_Update = tuple[int, dict[str, float]]


class Tracking:
    """All trackers of a run. Call `log` after each update and `close` at the end; the others' errors end nothing."""

    def __init__(self, names: Sequence[str], run: Callable[[str], TrackedRun], warn: Callable[[str], None]) -> None:
        """run: the run as a tracker is told it, by what it knows it by. warn: called from any thread."""
        self._names = names
        self._run = run
        self._warn = warn
        self._waiting: queue.Queue[_Update | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._left_out = 0

    def log(self, steps: int, values: Mapping[str, float]) -> None:
        """Hand on the curves of an update, by tag; returns at once."""
        if not self._names:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((steps, {tag: value for tag, value in values.items() if math.isfinite(value)}))
        except queue.Full:
            self._left_out += 1
            if self._left_out == 1:
                self._warn(f"{', '.join(self._names)}: {MOST_WAITING} updates wait to be sent, later ones are left out")

    def close(self) -> None:
        """Wait for what is left, for a while."""
        if self._thread is None:
            return
        with suppress(queue.Full):
            self._waiting.put(None, timeout=END_SECONDS)
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            self._warn(f"{', '.join(self._names)}: not everything was sent within {END_SECONDS:g} s after the end")
        if self._left_out:
            self._warn(
                f"{', '.join(self._names)}: {self._left_out:,} updates were left out; metrics.jsonl has them all"
            )

    def _work(self) -> None:
        trackers = self._begun()
        while (update := self._waiting.get()) is not None:
            steps, values = update
            for name in list(trackers):
                try:
                    trackers[name].log(steps, dict(values))  # its own: what it writes there changes no other's
                except BaseException as error:  # noqa: BLE001 -- whatever a service raises: it ends this thread in silence
                    self._give_up(trackers, name, error)
        for name in list(trackers):
            try:
                trackers[name].end()
            except BaseException as error:  # noqa: BLE001
                self._give_up(trackers, name, error)

    def _begun(self) -> dict[str, Tracker]:
        directory = self._run("").directory
        known, trackers = read_known(directory), dict[str, Tracker]()
        for name in self._names:
            try:
                trackers[name] = make_tracker(name)
                known[name] = str(trackers[name].begin(self._run(known.get(name, ""))))
            except BaseException as error:  # noqa: BLE001
                self._give_up(trackers, name, error)
        with suppress(OSError):
            replace_file(directory / KNOWN_FILE, json.dumps(known).encode())
        return trackers

    def _give_up(self, trackers: dict[str, Tracker], name: str, error: BaseException) -> None:
        trackers.pop(name, None)
        self._warn(
            f"{name} is told nothing more: {in_a_line(error)}; training goes on, and metrics.jsonl has everything"
        )


def read_known(directory: Path) -> dict[str, str]:
    """Read by what each tracker knows the run; {} for a new one."""
    with suppress(OSError, ValueError):
        found = json.loads((directory / KNOWN_FILE).read_bytes())
        if isinstance(found, dict):
            return {str(name): str(known) for name, known in found.items()}
    return {}
