"""Actors that go on while the learner trains (`collect.max_staleness`), over the simulated wire."""

from collections.abc import Iterator
from typing import Any

import pytest
from simulated_actor import Process
from simulation import Simulation, learner_of, running

from dppo.learner.config import CollectConfig, LearnerConfig, PpoConfig
from dppo.learner.group.membership import refuse_with_several
from dppo.learner.session.asynchronous import AsynchronousCycle
from dppo.learner.session.flow_control import CREDIT_GOING_ON
from dppo.learner.session.phases import Phase
from dppo.protocol.errors import UsageError
from dppo.protocol.limits import SEGMENT_BYTES
from dppo.protocol.messages import Nack, Policy, Stop
from dppo.settings.commands import TrainConfig

BATCH_STEPS = 40
ROUND_SECONDS = 0.5
SLOW_SECONDS = 5.0  # of a step of the straggler


@pytest.fixture(params=[1, 3])
def world(request: pytest.FixtureRequest) -> Iterator[Simulation]:
    with Simulation(batch_steps=BATCH_STEPS, max_staleness=request.param) as made:
        yield made
        made.check()


def sent(world: Simulation, kind: type) -> list[Any]:
    """Return the messages of that kind that this learner has sent."""
    return [send.message for send in world.sent if isinstance(send.message, kind)]


def act(world: Simulation, actors: list[Process], steps: int) -> None:
    """Let all take so many steps, message by message."""
    for _ in range(steps):
        for actor in actors:
            world.step(actor)
        world.exchange()


def test_actors_go_on_during_an_update_and_stand_still_only_where_their_steps_would_be_too_old(
    world: Simulation,
) -> None:
    actors = running(world, "a", "b")
    most = world.settings.max_staleness
    act(world, actors, 15)
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert all(actor.driver.may_step for actor in actors)
    act(world, actors, 150)
    assert not any(actor.driver.may_step for actor in actors), "batches for all versions that may take them are full"
    cycle = learner_of(world).cycle
    assert isinstance(cycle, AsynchronousCycle)
    assert len(cycle.in_hand) == 1 + most
    full = [batch.steps for batch in cycle.in_hand]
    assert all(BATCH_STEPS <= steps < 2 * BATCH_STEPS for steps in full), full
    world.train()
    world.exchange()
    assert all(actor.driver.may_step for actor in actors)
    act(world, actors, 150)
    world.run_until_updates(3 + most)
    assert not sent(world, Stop)
    assert not sent(world, Nack)
    assert max(world.staleness) == most


def test_nothing_is_dropped_whatever_the_learner_needs_for_an_update(world: Simulation) -> None:
    actors = running(world, "a", "b", "c")
    for number in range(400):
        actor = actors[number % 7 % 3]
        world.step(actor, number % 5)
        if number % 3:
            for connection in list(world.connections.values()):
                world.deliver_up(connection, 1)
                world.deliver_down(connection, number % 4)
        if number % (5 + number // 8) == 0:
            world.train()
        world.pass_time(0.01)
    world.check()
    assert world.updates > 10
    assert max(world.staleness) == world.settings.max_staleness
    assert learner_of(world).ledger.total().dropped.total() == 0
    world.end()


def test_the_newest_policy_is_taken_as_soon_as_it_arrives(world: Simulation) -> None:
    (actor,) = running(world, "a")
    act(world, [actor], 30)
    version = world.version
    world.step(actor)
    world.train()
    world.exchange()
    assert actor.session.policy == (world.term, version + 1)
    assert actor.driver._collector is not None
    assert not actor.driver._collector.rows, "what was begun under the older one is on its way"
    assert len(actor.session.sealed) == 0
    assert actor.driver.may_step


def test_an_actor_that_connects_again_during_an_update_goes_on_at_once(world: Simulation) -> None:
    actors = running(world, "a", "b")
    act(world, actors, 15)
    assert learner_of(world).cycle.phase is Phase.UPDATING
    world.cut(actors[0], lose_up=True, noticed=True)
    world.attach(actors[0])
    actors[0].driver.connected()
    world.tick(actors[0])
    world.exchange()
    assert actors[0].driver.may_step
    assert not sent(world, Stop)
    world.run_until_updates(3)
    assert learner_of(world).ledger.total().dropped.total() == 0


def test_what_waits_in_memory_is_bounded_by_the_bytes_that_may_wait() -> None:
    with Simulation(batch_steps=BATCH_STEPS, max_staleness=4, max_ingress_bytes=20_000) as world:
        actors = running(world, "a", "b")
        act(world, actors, 150)
        cycle = learner_of(world).cycle
        assert isinstance(cycle, AsynchronousCycle)
        assert len(cycle.in_hand) < 1 + 4
        assert 20_000 <= cycle.bytes_in_hand < 20_000 + len(actors) * (CREDIT_GOING_ON + 1) * (SEGMENT_BYTES + 500)
        world.run_until_updates(10)
        world.check()


def with_straggler(
    most: int,
    update_seconds: float,
    *,
    batch_steps: int = BATCH_STEPS,
    seconds: float = 80.0,
    is_there: bool = True,
) -> Simulation:
    """Play two fast actors, an update of so many seconds, and an actor that takes SLOW_SECONDS a step."""
    world = Simulation(batch_steps=batch_steps, max_staleness=most, lease_seconds=10.0)
    fast = running(world, "a", "b")
    slow = running(world, "slow")[0] if is_there else None
    wakes_at = updated_at = world.now
    end = world.now + seconds
    while world.now < end:
        for actor in fast:
            world.step(actor, 8)
            assert actor.connection is not None
            world.deliver_up(actor.connection)
            world.deliver_down(actor.connection)
        if slow is not None and world.now >= wakes_at and slow.connection is not None:
            wakes_at = world.now + SLOW_SECONDS
            world.tick(slow)
            world.deliver_up(slow.connection)  # the step that has ended
            world.deliver_down(slow.connection)
            world.deliver_up(slow.connection)
            world.step(slow)  # sampled now, on its way when it ends
        world.now += ROUND_SECONDS
        world.tick_learner()
        for actor in fast:
            world.tick(actor)
        if learner_of(world).cycle.phase is not Phase.UPDATING:
            updated_at = world.now + update_seconds
        elif world.now >= updated_at:
            world.train()
            updated_at = world.now + update_seconds
    world.check()
    return world


def trained_of(world: Simulation, name: str) -> int:
    (process,) = (process for process in world.processes.values() if process.name == name)
    return sum(number in world.ever_trained for numbers in process.shipped for number in numbers)


@pytest.mark.parametrize(("most", "batch_steps", "update_seconds"), [(1, 600, 1.0), (6, BATCH_STEPS, 3.0)])
def test_an_actor_of_five_seconds_a_step_contributes_and_is_not_waited_for(
    most: int, batch_steps: int, update_seconds: float
) -> None:
    """Whether the fast actors set the pace, whose batches take 9 s, or the learner, whose updates take 3 s."""
    with with_straggler(most, update_seconds, batch_steps=batch_steps, is_there=False) as alone:
        pass
    with with_straggler(most, update_seconds, batch_steps=batch_steps) as world:
        assert trained_of(world, "slow") >= 18, "of 2 environments and 15 rows"
        assert not learner_of(world).ledger.total().dropped.total()
        assert world.updates >= alone.updates > 6
        assert max(world.staleness) == most


def test_what_takes_longer_than_so_many_updates_is_dropped_and_named_and_costs_the_others_nothing() -> None:
    with with_straggler(1, 0.5, seconds=60.0, is_there=False) as alone:
        pass
    with with_straggler(1, 0.5, seconds=60.0) as world:
        assert learner_of(world).ledger.total().dropped["stale"] > 0
        assert world.updates >= 0.95 * alone.updates
        notes = [note for note in world.notes if "slow delivered" in note]
        assert len(notes) == 1
        assert "collect.max_staleness=1" in notes[0]
        assert "slow" not in {note.split()[0] for note in world.notes if "stop" in note}


@pytest.mark.parametrize("loses_learner", [False, True])
def test_kills_of_either_side_close_the_ledger(loses_learner: bool) -> None:
    with Simulation(batch_steps=BATCH_STEPS, max_staleness=1) as world:
        actors = running(world, "a", "b")
        for number in range(12):
            act(world, actors, 9)
            world.step(actors[0], 3)
            if number % 4 == 1:
                world.checkpoint()
            if number % 3 == 2:
                if loses_learner:
                    world.crash_learner()
                    world.start_learner()
                else:
                    world.kill(actors[0])
                    actors[0] = world.start("a")
            world.calm(2)
            world.check()
        assert world.updates > 6
        total = learner_of(world).ledger.total()
        assert not loses_learner or total.dropped["learner_crash"] > 0
        world.end()


def test_policies_are_sent_before_the_credit_to_act_under_them(world: Simulation) -> None:
    actors = running(world, "a", "b")
    act(world, actors, 150)
    world.sent = []
    world.train()
    first = [type(send.message) for send in world.sent if send.peer == world.sent[0].peer]
    assert first[0] is Policy


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_staleness": 9}, "collect.max_staleness=9"),
        ({"max_staleness": -1}, "collect.max_staleness=-1"),
        ({"max_staleness": 1, "rule": "quota", "slots": 4}, "collect.rule=quota"),
        ({"max_staleness": 1, "rule": "quorum"}, "collect.rule=quorum"),
        ({"max_staleness": 1, "rule": "even_shares"}, "collect.rule=even_shares"),
        ({"max_staleness": 1, "on_stop": "drop"}, "collect.on_stop=drop"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_a_line(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named) as error:
        CollectConfig(**settings)
    assert "\n" not in str(error.value)


def test_a_run_in_one_process_where_both_sides_take_turns_has_none() -> None:
    with pytest.raises(UsageError, match=r"collect\.max_staleness=1 .* actors=0"):
        TrainConfig(LearnerConfig(collect=CollectConfig(max_staleness=1)), actors=0)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"ppo": PpoConfig(reuse=4)}, r"ppo\.reuse=4"),
    ],
)
def test_what_takes_a_batch_for_one_policys_is_refused_in_a_line(other: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=rf"collect\.max_staleness=1 .*{named}") as error:
        LearnerConfig(collect=CollectConfig(max_staleness=1), **other)
    assert "\n" not in str(error.value)


def test_several_learners_are_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match=r"collect\.max_staleness=1 is for one learner"):
        refuse_with_several(LearnerConfig(collect=CollectConfig(max_staleness=1)), 2)
