"""An actor that stands still with a full segment reports that it has no credit, and for how long."""

from collections.abc import Iterator
from typing import Any

import pytest
from conversations import deliver, down, hear
from simulated_actor import Process, WatchedSession
from simulation import Simulation, learner_of, running

from dppo.actor.session.states import State
from dppo.actor.session.traced_session import TracedActorSession
from dppo.actor.session.wait_report import FIRST_SECONDS_FOR_WORK
from dppo.learner.session.flow_control import CREDIT
from dppo.protocol.messages import Ack
from dppo.protocol.trace import Record, Trace

TICK_SECONDS = 0.1
WAIT = "no credit"


class Traced(WatchedSession, TracedActorSession):
    """The simulated world's actor, traced."""


@pytest.fixture
def world() -> Iterator[Simulation]:
    with Simulation(batch_steps=10_000, segment_steps=4) as made:
        yield made


def without_acks(world: Simulation, process: Process, seconds: float, steps: int) -> list[tuple[bytes, Any]]:
    """All arrives on both sides except ACK; return those, in order."""
    assert process.connection is not None
    acks: list[tuple[bytes, Any]] = []
    for _ in range(round(seconds / TICK_SECONDS)):
        world.now += TICK_SECONDS
        world.step(process, steps)
        world.tick(process)
        deliver(world, process)
        frames = list(process.connection.down)
        acks += [one for one, message in zip(frames, down(process), strict=True) if isinstance(message, Ack)]
        process.connection.down.clear()
        process.connection.down.extend(one for one in frames if one not in acks)
        hear(world, process)
    return acks


def release(world: Simulation, process: Process, acks: list[tuple[bytes, Any]]) -> None:
    assert process.connection is not None
    process.connection.down.extend(acks)
    hear(world, process)


def lacks_credit(process: Process) -> list[str]:
    return [note for note in process.notes if note.endswith("it asks for no more steps at the moment")]


def test_an_actor_that_waits_with_a_full_segment_reports_that_it_has_no_credit(world: Simulation) -> None:
    (actor,) = running(world, "a")
    acks = without_acks(world, actor, FIRST_SECONDS_FOR_WORK, steps=20)
    assert actor.session.state is State.RUNNING
    assert len(actor.session.sealed) == CREDIT
    assert actor.session.may_open, "there is room for what STOP would cut"
    assert not actor.driver.may_step
    without_acks(world, actor, 2.0, steps=20)
    (line,) = lacks_credit(actor)
    assert line.startswith("waiting 5 s for ")
    release(world, actor, acks)
    world.tick(actor)
    assert actor.driver.may_step
    assert learner_of(world).ledger.total().pending > 0


def test_standing_still_is_sending_until_all_is_acknowledged_and_idle_then(world: Simulation) -> None:
    (actor,) = running(world, "a")
    driver = actor.driver
    driver.waited(1.0)
    assert (driver.send_seconds, driver.idle_seconds) == (0.0, 1.0)
    acks = without_acks(world, actor, TICK_SECONDS, steps=200)
    driver.send_seconds = driver.idle_seconds = 0.0
    driver.waited(2.0)
    assert (driver.send_seconds, driver.idle_seconds) == (2.0, 0.0)
    actor.session.is_reached = False  # it waits for a connection, and nothing is on its way
    driver.waited(0.5)
    assert (driver.send_seconds, driver.idle_seconds) == (2.0, 0.5)
    actor.session.is_reached = True
    release(world, actor, acks)
    deliver(world, actor)  # what it had held back
    hear(world, actor)
    driver.waited(0.25)
    assert (driver.send_seconds, driver.idle_seconds) == (2.0, 0.75)


def test_an_actor_that_steps_with_its_last_credit_used_up_reports_no_wait(world: Simulation) -> None:
    """Fill the segment that a STOP would cut."""
    (actor,) = running(world, "a")
    without_acks(world, actor, TICK_SECONDS, steps=4 * CREDIT)
    while actor.session.may_seal:
        without_acks(world, actor, TICK_SECONDS, steps=1)
    assert actor.driver.may_step
    without_acks(world, actor, 2 * FIRST_SECONDS_FOR_WORK, steps=0)
    assert lacks_credit(actor) == []


def test_the_trace_has_the_time_without_a_step_and_no_more(world: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[Record] = []

    def traced(**of_session: Any) -> Traced:
        return Traced(trace=Trace(records.append, lambda: world.now), **of_session)

    monkeypatch.setattr("simulated_network.WatchedSession", traced)
    (actor,) = running(world, "a")
    acks = without_acks(world, actor, TICK_SECONDS, steps=1)
    while actor.session.may_seal:
        acks += without_acks(world, actor, TICK_SECONDS, steps=1)
    acks += without_acks(world, actor, 3.0, steps=0)  # its environments are slow
    assert not [record for record in records if record["event"] == "waits"]
    acks += without_acks(world, actor, TICK_SECONDS, steps=20)
    assert not actor.driver.may_step
    stands_still_since = world.now
    acks += without_acks(world, actor, 2.0, steps=20)
    release(world, actor, acks)
    world.tick(actor)
    waited = [record["fields"] for record in records if record["event"] == "waited"][-1]
    assert waited["for"] == WAIT
    assert waited["seconds"] == pytest.approx(world.now - stands_still_since)
