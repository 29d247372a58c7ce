"""A simulated world whose sessions are traced, and what they have recorded: as events, or as the file of a learner."""

import json
from pathlib import Path
from typing import Any

import pytest
from simulated_actor import Process, WatchedSession
from simulation import Simulation

from dppo.actor.session.traced_session import TracedActorSession
from dppo.learner.session.traced_session import TracedLearnerSession
from dppo.ops.trace_reader import TraceEvent
from dppo.protocol.trace import Record, Trace
from dppo.watch.timeline.lanes import Board
from dppo.watch.timeline.traces import board_of, chosen_window, extent_of, learner_traces

NOON = 1_790_000_000.0  # time of day at the world's 0 s


class Traced(WatchedSession, TracedActorSession):
    """The simulated world's actor, traced."""


class World:
    """A simulated world whose sessions are traced, and what they have recorded."""

    def __init__(self, world: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.learner: list[Record] = []
        self.actors: dict[str, list[Record]] = {}

        def actor(**of_session: Any) -> Traced:
            records = self.actors.setdefault(of_session["actor"], [])
            return Traced(trace=Trace(records.append, lambda: world.now), **of_session)

        def learner(*of_session: Any) -> TracedLearnerSession:
            about = {"side": "learner", "time_of_day": NOON + world.now}
            self.learner.append({"time": world.now, "event": "begin", "state": "", "fields": about})
            return TracedLearnerSession(*of_session, trace=Trace(self.learner.append, lambda: world.now))

        monkeypatch.setattr("simulated_network.WatchedSession", actor)
        monkeypatch.setattr("dppo.learner.new_session.LearnerSession", learner)
        world.crash_learner()
        world.start_learner()

    def of_learner(self) -> list[TraceEvent]:
        return [TraceEvent(**record) for record in self.learner]

    def of(self, process: Process) -> list[TraceEvent]:
        return [TraceEvent(**record) for record in self.actors[process.name]]

    def write(self, run: Path, name: str = "learner") -> Path:
        """Write the learner's records as its trace in a run directory."""
        path = run / "logs" / f"{name}.trace.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in self.learner))
        return path


def board_from(traced: World, run: Path, begin: float | None = None, end: float | None = None) -> Board:
    """Write the trace, and read the timeline of all of it, or of that window."""
    traced.write(run)
    files = learner_traces(str(run))
    extent = extent_of(files)
    return board_of(files, extent, chosen_window(extent, begin, end, 0))
