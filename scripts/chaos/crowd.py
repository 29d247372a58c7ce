"""A thousand actors at one learner, and all of them again after it was killed."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.chaos.cluster import free_port
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, reported

ACTORS = 1000
PROCESSES = 8
PATIENCE_SECONDS = 60.0


class Learner:
    """One life of the crowd's learner; reads the figures that it prints."""

    def __init__(self, endpoint: str, directory: Path) -> None:
        command = [sys.executable, "-m", "scripts.chaos.herd", "learner", endpoint, str(directory)]
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.figures: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None, "it was opened"
        for line in self.process.stdout:
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

    def end(self) -> None:
        """SIGKILL: everything in its memory is gone."""
        self.process.kill()
        self.process.wait()


def play(scene: Scene) -> list[Figure]:
    """Join, work, lose the learner, join again."""
    actors = int(scene.pick(200, ACTORS))
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    learner = Learner(endpoint, scene.directory)
    listening = learner.until(lambda figures: True)
    with _crowd(scene.directory / "join", actors):
        joining_at = time.monotonic()
        joined = learner.until(lambda figures: figures["ready"] >= actors)
        time.sleep(scene.pick(6, 30))
        window = [one for one in learner.figures if joined is not None and one["at"] > joined["at"]]
        learner.end()
        again = Learner(endpoint, scene.directory)
        back_from = again.until(lambda figures: True)
        back = again.until(lambda figures: figures["ready"] >= actors)
        worked = again.until(lambda figures: figures["accepted"] > actors)
        again.end()
    seconds = window[-1]["at"] - window[0]["at"] if len(window) > 1 else 0.0
    arrived = (window[-1]["accepted"] - window[0]["accepted"]) / seconds if seconds else None
    cores = (window[-1]["cpu"] - window[0]["cpu"]) / seconds if seconds else None
    empty = listening["memory"] if listening else 0
    each = (joined["memory"] - empty) / actors / 1000 if joined else None
    at_work = (window[-1]["memory"] - empty) / 1e6 if window else None
    figures = [
        reported("actors", actors),
        at_most("all joined after", _seconds(joined, joining_at), scene.within(5), "s"),
        reported("rollouts/s", arrived),
        reported("learner's share of the cores", cores),
        at_most("memory of one actor that has joined", each, scene.within(200), "kB"),
        reported("memory of all at work, with a batch", at_work, "MB"),
        at_most(
            "all back after the restart", _seconds(back, back_from["at"] if back_from else 0.0), scene.within(5), "s"
        ),
        at_most("working again after", _seconds(worked, again.started_at), scene.within(10), "s"),
    ]
    messages = 2 * arrived if arrived is not None else None  # each is acknowledged
    if scene.is_full:
        return [*figures, at_least("messages/s", messages, 10_000)]
    return [*figures, reported("messages/s", messages)]


def _seconds(figures: dict[str, Any] | None, since: float) -> float | None:
    return None if figures is None else max(0.0, figures["at"] - since)


@contextmanager
def _crowd(join_file: Path, actors: int) -> Iterator[None]:
    """So many simulated actors in a few processes."""
    share = actors // PROCESSES
    command = [sys.executable, "-m", "scripts.chaos.herd", "actors", str(join_file)]
    herds = []
    try:
        for number in range(PROCESSES):
            arguments = [*command, str(number * share), str(share)]
            herds.append(subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for herd in herds:
            assert herd.stdout is not None, "it was opened"
            herd.stdout.readline()  # started: the time that Python takes is not the learner's
        for herd in herds:
            assert herd.stdin is not None, "it was opened"
            herd.stdin.write("go\n")
            herd.stdin.flush()
        yield
    finally:
        for herd in herds:
            herd.kill()
            herd.wait()


FAULTS = (Fault("crowd", "1,000 simulated actors, with keys; the learner is killed under them", play),)
