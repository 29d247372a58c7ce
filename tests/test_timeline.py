"""Timelines out of traces of real sessions: what each lane says, for whom learners waited, who came and went."""

import random
from pathlib import Path

import numpy as np
import pytest
from simulated_actor import Connection, Process
from simulation import Simulation, learner_of, running
from traced_worlds import World, board_from

from dppo.ops.trace_reader import events_of
from dppo.watch.timeline import lanes
from dppo.watch.timeline.lanes import Board, Doing, Happening, Lane
from dppo.watch.timeline.summary import summary
from dppo.watch.timeline.traces import board_of, extent_of, learner_traces


@pytest.fixture
def traced(world: Simulation, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(world, monkeypatch)


def happenings(board: Board) -> list[tuple[str, Happening]]:
    return [(mark.lane, mark.happening) for mark in sorted(board.marks, key=lambda mark: mark.seconds)]


def seconds_of(lane: Lane) -> dict[Doing, float]:
    """Return the activities that took time, to the ms."""
    return {doing: round(seconds, 3) for doing, seconds in lane.seconds.items() if seconds > 0.0005}


def connection_of(world: Simulation, process: Process) -> Connection:
    assert process.connection is not None
    return world.connections[process.connection.place]


def finish_batch(world: Simulation, *processes: Process) -> None:
    """Let them step until the batch is full and STOP is out; it has not arrived."""
    for _ in range(100):
        for process in processes:
            world.step(process, 1)
            world.deliver_up(connection_of(world, process))
    assert learner_of(world).cycle.phase.value == "stopping"


def test_lanes_say_for_how_long_an_actor_stepped_and_waited_and_the_learner_trained(
    traced: World, tmp_path: Path
) -> None:
    world = traced.world
    (actor,) = running(world, "a")
    world.now += 1.5
    world.step(actor, 100)
    world.exchange()  # the batch is full, STOP, STOPPED
    world.now += 2.0  # the update
    world.train()
    world.now += 0.25  # the policy is on its way
    world.exchange()
    world.now += 0.5
    world.tick_learner()
    learner_of(world).finish("over", "shutdown", world.now)
    board = board_from(traced, tmp_path)
    assert seconds_of(board.lane("a")) == {Doing.WORKING: 2.0, Doing.WAITING: 2.0, Doing.PUBLISHING: 0.25}
    assert seconds_of(board.learners[0]) == {Doing.WORKING: 2.0, Doing.UPDATING: 2.0, Doing.PUBLISHING: 0.25}
    assert (board.updates, board.actors[0].steps) == (1, actor.sealed_steps)


def test_the_learner_waited_for_the_actor_that_answered_stop_last(traced: World, tmp_path: Path) -> None:
    world = traced.world
    fast, slow = running(world, "h1-0", "h2-0")
    world.now += 1.0
    finish_batch(world, fast, slow)
    world.now += 0.01
    world.deliver_down(connection_of(world, fast))
    world.deliver_up(connection_of(world, fast))
    world.now += 0.6
    world.exchange()
    board = board_from(traced, tmp_path)
    (stop,) = board.stops
    assert (stop.version, stop.actors, stop.waited_for, stop.is_answered) == (1, 2, ("h2-0",), True)
    assert (stop.seconds, stop.lost_seconds) == (pytest.approx(0.61), pytest.approx(0.6))
    assert board.lane("h2-0").seconds[Doing.STOPPING] == pytest.approx(0.61)
    assert board.lane("h1-0").seconds[Doing.STOPPING] == pytest.approx(0.01)
    assert "  policy 1: 0.61 s for h2-0; the others within 10 ms" in summary(board)


def test_an_actor_that_does_not_answer_stop_is_named_as_the_one_that_was_waited_for(
    traced: World, tmp_path: Path
) -> None:
    world = traced.world
    fast, stuck = running(world, "h1-0", "h2-0")
    finish_batch(world, fast, stuck)
    world.deliver_down(connection_of(world, fast))
    world.deliver_up(connection_of(world, fast))
    while learner_of(world).cycle.phase.value == "stopping":
        world.now += 0.1
        world.tick_learner()
    (stop,) = board_from(traced, tmp_path).stops
    assert (stop.waited_for, stop.is_answered, stop.others_seconds) == (("h2-0",), False, 0.0)
    assert stop.lost_seconds == pytest.approx(stop.seconds)
    world.exchange()
    assert board_from(traced, tmp_path).lane("h2-0").late_answers == 1


def test_who_came_who_went_and_who_was_started_again(traced: World, tmp_path: Path) -> None:
    world = traced.world
    first = world.start("a")
    world.run_until_updates(2)
    world.cut(first, lose_up=True, noticed=True)
    world._do(learner_of(world).unreachable(b"peer-0", world.now))
    world.now += 1.0
    world.attach(first)
    first.driver.connected()
    world._flush(first)
    world.run_until_updates(2)
    world.kill(first, noticed=True)
    world._do(learner_of(world).unreachable(b"peer-1", world.now))
    world.now += 1.0
    again = world.start("a")
    world.run_until_updates(2)
    world.now += 1.0
    world.terminate(again)
    world.calm(3)
    board = board_from(traced, tmp_path)
    lost, left = Happening.LOST, Happening.LEFT
    expected = [Happening.JOINED, lost, Happening.RECONNECTED, lost, Happening.RESTARTED, left]
    assert happenings(board) == [("a", happening) for happening in expected]
    assert board.lane("a").seconds[Doing.AWAY] >= 2.0


def test_a_learner_that_was_killed_is_away_until_its_next_start(traced: World, tmp_path: Path) -> None:
    world = traced.world
    actor = world.start("a")
    world.run_until_updates(2)
    world.crash_learner()
    world.now += 3.0
    world.start_learner()
    world.run_until_updates(2)
    board = board_from(traced, tmp_path)
    assert [(start.name, start.away_seconds >= 3.0) for start in board.starts] == [("learner", True)]
    assert board.learners[0].seconds[Doing.AWAY] >= 3.0
    assert board.lane("a").seconds[Doing.AWAY] >= 3.0
    assert happenings(board) == [("a", Happening.JOINED)]  # the same process: nothing happened to it
    assert board.updates == 4
    assert any(line.startswith("learner was started again at ") for line in summary(board))
    assert actor.alive


def test_an_actor_that_falls_silent_is_lost_and_one_that_is_replaced_is_not(traced: World, tmp_path: Path) -> None:
    world = traced.world
    silent, replaced = world.start("a"), world.start("b")
    world.run_until_updates(1)
    world.kill(replaced, noticed=False)
    world.now += 0.5
    world.start("b")
    world.kill(silent, noticed=False)
    world.run_until_updates(6)
    world._do(learner_of(world).unreachable(b"peer-1", world.now))  # the first connection of b
    for _ in range(12):
        world.calm()
        world.now += 0.5
    board = board_from(traced, tmp_path)
    assert ("a", Happening.LOST) in happenings(board)
    assert ("b", Happening.LOST) not in happenings(board)
    assert board.lane("b").seconds[Doing.AWAY] == 0


def test_an_actor_that_may_send_nothing_more_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Simulation(rule="even_shares") as world:
        traced = World(world, monkeypatch)
        fast, slow = running(world, "a", "b")
        world.step(fast, 100)  # its share, and no more
        world.exchange()
        world.now += 2.0
        world.step(slow, 100)
        world.exchange()
        board = board_from(traced, tmp_path)
    assert board.lane("a").seconds[Doing.WAITING] == pytest.approx(2.0)
    assert board.lane("b").seconds[Doing.WORKING] == pytest.approx(2.0)


def test_updates_without_stop_are_counted_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Simulation(max_staleness=2) as world:
        traced = World(world, monkeypatch)
        world.start("a")
        world.start("b")
        world.run_until_updates(6)
        board = board_from(traced, tmp_path)
    assert board.updates == world.updates
    assert not board.stops  # nobody is sent STOP
    assert all(lane.seconds[Doing.STOPPING] == 0 for lane in board.actors)


def test_the_actors_of_a_lost_relay_are_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Simulation(is_relayed=True) as world:
        traced = World(world, monkeypatch)
        world.start("a")
        world.start("b")
        world.run_until_updates(2)
        world.cut_uplink()
        world.run_until_updates(1)
        board = board_from(traced, tmp_path)
    assert {lane.name for lane in board.actors} == {"a", "b"}
    assert {name for name, happening in happenings(board) if happening is Happening.LOST} == {"a", "b"}


def under_faults(traced: World, seed: int) -> None:
    """Run for a while with what goes wrong in the field."""
    world, choose = traced.world, random.Random(seed)
    for name in ("h1-0", "h1-1", "h2-0"):
        world.start(name)
    for _ in range(60):
        world.calm(steps=choose.randint(0, 6))
        world.now += choose.random() / 10
        process, fault = choose.choice(list(world.processes.values())), choose.random()
        if fault < 0.05 and process.alive:
            world.kill(process, noticed=choose.random() < 0.5)
            world.start(process.name)
        elif fault < 0.1 and process.alive:
            world.cut(process, lose_up=choose.random() < 0.5, noticed=True)
        elif fault > 0.97 and world.learner is not None:
            world.crash_learner()
            world.now += 1.0
            world.start_learner()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_every_moment_has_one_activity(traced: World, tmp_path: Path, seed: int) -> None:
    under_faults(traced, seed)
    for begin, end in ((None, None), (2.0, 4.0)):
        board = board_from(traced, tmp_path, begin, end)
        length = board.window[1] - board.window[0]
        assert sum(board.learners[0].seconds.values()) == pytest.approx(length)
        for lane in (*board.learners, *board.actors):
            assert lane.columns.sum() == pytest.approx(sum(lane.seconds.values()), rel=1e-4)
            assert (lane.columns.sum(axis=0) <= board.column_seconds * 1.001).all()
            ends = [board.window[0], *(moment for start, end, _ in lane.spans for moment in (start, end))]
            assert (np.diff(ends) >= 0).all(), "one after the other"
            assert sum(end - start for start, end, _ in lane.spans) == pytest.approx(lane.here_seconds)


def test_too_many_spans_are_dropped_and_the_sums_stay(
    traced: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced.world.start("a")
    traced.world.run_until_updates(5)
    whole = board_from(traced, tmp_path)
    monkeypatch.setattr(lanes, "MOST_SPANS", 5)
    rough = board_from(traced, tmp_path)
    assert (whole.is_fine, rough.is_fine) == (True, False)
    assert rough.lane("a").seconds == whole.lane("a").seconds
    assert not rough.lane("a").spans
    np.testing.assert_allclose(rough.lane("a").columns, whole.lane("a").columns)


def test_a_torn_line_and_a_lost_beginning_cost_only_what_is_lost(traced: World, tmp_path: Path) -> None:
    traced.world.start("a")
    traced.world.run_until_updates(6)
    whole = board_from(traced, tmp_path)
    path = traced.write(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    files = learner_traces(str(tmp_path))
    torn = board_of(files, extent_of(files), (0.0, extent_of(files).seconds))
    assert torn.updates in (whole.updates, whole.updates - 1)
    path.write_bytes(b"\xff\x00 garbage\n" + b"".join(lines[len(lines) // 2 :]))
    extent = extent_of(files)
    rest = board_of(files, extent, (0.0, extent.seconds))
    assert 0 < rest.updates < whole.updates
    assert rest.lane("a").here_seconds == pytest.approx(extent.seconds, abs=0.2)
    assert len(list(events_of(path))) == len(lines) - len(lines) // 2
