"""The part of an actor's time in which it sends, in timelines out of traces of real sessions."""

from pathlib import Path

import pytest
from simulated_actor import Connection, Process
from simulation import Simulation, learner_of, running
from traced_worlds import World, board_from

from dppo.watch.timeline.lanes import Doing


@pytest.fixture
def traced(world: Simulation, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(world, monkeypatch)


@pytest.mark.parametrize(("seconds", "sending"), [(3.0, 3.0), (0.1, 0.0)])
def test_an_actor_whose_rollouts_are_under_way_sends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: float, sending: float
) -> None:
    with Simulation(batch_steps=10_000, segment_steps=4) as world:
        traced = World(world, monkeypatch)
        (actor,) = running(world, "a")
        world.now += 4.0 - seconds
        world.step(actor, 1_000)  # until it has no credit, and nothing of it arrives
        assert not actor.driver.may_step
        world.now += seconds
        actor.driver.waited(seconds)
        world.tick(actor)  # PING
        world.exchange()
        assert actor.driver.may_step
        world.now += 2.0
        actor.driver.waited(2.0)  # all is acknowledged: this is no time of sending
        world.tick(actor)
        world.exchange()
        board = board_from(traced, tmp_path)
    lane = board.lane("a")
    assert lane.seconds[Doing.SENDING] == pytest.approx(sending)
    assert lane.seconds[Doing.WORKING] == pytest.approx(6.0 - sending)
    assert lane.task_seconds == pytest.approx({"env": 0, "policy": 0, "send": seconds, "idle": 2.0})
    assert sum(1 for _, _, doing in lane.spans if doing is Doing.SENDING) == (sending > 0)


def test_reports_that_come_late_and_together_count_for_the_time_that_they_are_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Simulation(batch_steps=10_000, segment_steps=4) as world:
        traced = World(world, monkeypatch)
        (actor,) = running(world, "a")
        world.now += 1.0
        world.tick(actor)
        world.exchange()  # a PING that came at once
        world.step(actor, 1_000)
        for _ in range(3):
            world.now += 1.5
            actor.driver.waited(1.2)
            world.tick(actor)
        world.exchange()  # all at once, behind the rollouts
        board = board_from(traced, tmp_path)
    assert board.lane("a").task_seconds["send"] == pytest.approx(3.6)
    assert board.lane("a").seconds[Doing.SENDING] == pytest.approx(3.6)
    sent = [(start, end) for start, end, doing in board.lane("a").spans if doing is Doing.SENDING]
    assert [end - start for start, end in sent] == pytest.approx([1.2, 1.2, 1.2])


def connection_of(world: Simulation, process: Process) -> Connection:
    assert process.connection is not None
    return world.connections[process.connection.place]


def test_what_is_under_way_at_stop_is_sending_until_it_has_arrived(traced: World, tmp_path: Path) -> None:
    world = traced.world
    (actor,) = running(world, "a")
    world.tick(actor)
    world.exchange()
    world.now += 1.0
    connection = connection_of(world, actor)
    while learner_of(world).cycle.phase.value != "stopping":
        world.step(actor, 1)
        world.deliver_up(connection)
    world.step(actor, 1)  # cut by STOP, and so under way after it
    world.deliver_down(connection)
    world.now += 3.0
    actor.driver.waited(3.0)
    world.tick(actor)
    world.exchange()
    lane = board_from(traced, tmp_path).lane("a")
    assert lane.seconds[Doing.SENDING] == pytest.approx(3.0)
    assert lane.seconds[Doing.WORKING] == pytest.approx(0.25)  # how much of either it was is not known
    assert lane.seconds[Doing.STOPPING] == pytest.approx(0.75)
