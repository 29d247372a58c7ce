"""A thousand actors at one learner, and all of them again after it was killed."""

import time
from typing import Any

from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, reported
from scripts.chaos.load_processes import LoadLearner, simulated_actors
from scripts.ports import free_port

ACTORS = 1000
PROCESSES = 8


def play(scene: Scene) -> list[Figure]:
    """Join, work, lose the learner, join again."""
    actors = int(scene.pick(200, ACTORS))
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    learner = LoadLearner(endpoint, scene.directory)
    listening = learner.until(lambda figures: True)
    with simulated_actors(scene.directory / "join", 0, actors, PROCESSES):
        joining_at = time.monotonic()
        joined = learner.until(lambda figures: figures["ready"] >= actors)
        time.sleep(scene.pick(6, 30))
        window = [one for one in learner.figures if joined is not None and one["at"] > joined["at"]]
        learner.end()
        again = LoadLearner(endpoint, scene.directory)
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


FAULTS = (Fault("crowd", "1,000 simulated actors, with keys; the learner is killed under them", play),)
