"""Events in traces by which timelines know who is there and what its time goes to."""

import pytest
from simulation import Simulation, learner_of
from traced_worlds import World

from dppo.protocol.messages import Ping, Tally, TimeShares
from dppo.protocol.trace import Record, Trace


@pytest.fixture
def traced(world: Simulation, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(world, monkeypatch)


def test_the_seconds_of_an_actors_tasks_are_recorded_and_no_other_record() -> None:
    records: list[Record] = []
    Trace(records.append, lambda: 1.5).message("received", "", Ping(7.0, Tally(3), TimeShares(0.5, 0.25, 0, 0.1)), None)
    seconds = {"env_seconds": 0.5, "policy_seconds": 0.25, "send_seconds": 0, "idle_seconds": 0.1}
    assert records[0]["fields"] == {"time": 7.0, "open_steps": 0, **seconds}


def test_an_actor_that_is_given_up_for_its_silence_is_recorded(traced: World) -> None:
    silent = traced.world.start("a")
    traced.world.run_until_updates(1)
    traced.world.kill(silent, noticed=False)
    for _ in range(12):
        traced.world.pass_time(0.5)
    (event,) = [event for event in traced.of_learner() if event.event == "silent"]
    assert event.peer == "a"
    assert event.fields["seconds"] > traced.world.settings.lease_seconds


def test_a_connection_that_a_newer_one_has_replaced_is_recorded_as_that(traced: World) -> None:
    first = traced.world.start("a")
    traced.world.run_until_updates(1)
    traced.world.kill(first, noticed=False)
    traced.world.start("a")
    traced.world.run_until_updates(1)
    traced.world._do(learner_of(traced.world).unreachable(b"peer-0", traced.world.now))
    traced.world._do(learner_of(traced.world).unreachable(b"peer-1", traced.world.now))
    gone = [event for event in traced.of_learner() if event.event == "gone" and event.peer == "a"]
    assert [event.fields for event in gone] == [{"replaced": True}, {}]


def test_a_lost_relay_is_recorded_for_each_actor_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Simulation(is_relayed=True) as world:
        traced = World(world, monkeypatch)
        world.start("a")
        world.start("b")
        world.run_until_updates(1)
        world.cut_uplink()
        gone = {event.peer: event.fields for event in traced.of_learner() if event.event == "gone"}
    relay = next(name for name in gone if name not in "ab")
    assert gone == {relay: {}, "a": {"relay": relay}, "b": {"relay": relay}}
