"""Start the two sides of the load generator as processes, and read the figures of its learner."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dppo.local.child_process import ChildProcess, end_all
from dppo.protocol.process.lifeline import Lifeline

PATIENCE_SECONDS = 60.0
MODULE = "scripts.chaos.load_generator"


class LoadLearner:
    """One life of the learner; reads the figures that it prints."""

    def __init__(self, endpoint: str, directory: Path, *options: str) -> None:
        self._lifeline = Lifeline()
        arguments = ["-m", MODULE, "learner", endpoint, str(directory), *options]
        self.started_at = time.monotonic()
        self.process = ChildProcess(arguments, self._lifeline, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.figures: list[dict[str, Any]] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        with self.process.stdout as lines:
            for line in lines:
                self.figures.append(json.loads(line))

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """The first figures of which that holds; None where they do not come."""
        deadline, seen = time.monotonic() + PATIENCE_SECONDS, 0
        while time.monotonic() < deadline and self.process.poll() is None:
            figures, seen = self.figures[seen:], len(self.figures)
            found = next((one for one in figures if holds(one)), None)
            if found is not None:
                return found
            time.sleep(0.02)
        return None

    def between(self, start: float, end: float) -> list[dict[str, Any]]:
        """Figures that it reported in that time, by the monotonic clock."""
        return [one for one in self.figures if start <= one["at"] < end]

    def end(self) -> None:
        """SIGKILL: everything in its memory is gone."""
        self.process.kill()
        self.process.stdin.close()
        self._reading.join()
        self._lifeline.close()


@contextmanager
def simulated_actors(join_file: Path, first: int, actors: int, processes: int, *options: str) -> Iterator[None]:
    """Run simulated actors in a few processes; the block begins when all of them have started."""
    started: list[ChildProcess] = []
    with Lifeline() as lifeline:
        try:
            for number in range(processes):
                begin, end = (number * actors // processes, (number + 1) * actors // processes)
                arguments = ["-m", MODULE, "actors", str(join_file), str(first + begin), str(end - begin), *options]
                started.append(ChildProcess(arguments, lifeline, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for one in started:
                one.stdout.readline()  # started: the time that Python takes is not the learner's
            for one in started:
                one.stdin.write(b"go\n")
                one.stdin.flush()
            yield
        finally:
            end_all(started, 0.0, signal.SIGKILL)
            for one in started:
                one.stdin.close()
                one.stdout.close()
