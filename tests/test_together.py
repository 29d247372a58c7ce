"""One learner's session among several: it goes on until all have their batch, and its slots are its own."""

from collections.abc import Iterator

import pytest
from conversations import deliver, hear
from simulation import Simulation, learner_of, running

from dppo.learner.session.phases import Phase
from dppo.learner.session.slots import SlotTable


@pytest.fixture
def world() -> Iterator[Simulation]:
    with Simulation(learners=2) as made:
        yield made


def test_a_learner_goes_on_beyond_its_own_part_until_all_together_have_the_batch(world: Simulation) -> None:
    (actor,) = running(world, "a")
    learner = learner_of(world)
    while learner.cycle.batch.steps < 3 * learner.settings.batch_steps:
        world.step(actor, 1)
        deliver(world, actor)
        hear(world, actor)
    assert learner.cycle.phase is Phase.COLLECTING
    world.end_collecting()
    assert learner.cycle.phase is Phase.STOPPING
    world.exchange()
    world.train()
    assert learner.cycle.phase is Phase.COLLECTING, "the next batch is not full before it has begun"
    world.end()


def test_a_call_for_another_version_stops_nothing(world: Simulation) -> None:
    running(world, "a")
    learner = learner_of(world)
    assert learner.end_collecting(learner.cycle.snapshot.version - 1, world.now) == []
    assert learner.cycle.phase is Phase.COLLECTING
    world.end()


def test_a_learner_without_actors_stops_at_the_call_with_an_empty_batch(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.kill(actor)
    world.end_collecting()
    world.exchange()
    assert learner_of(world).cycle.batch.rollouts == []
    assert learner_of(world).cycle.phase in (Phase.STOPPING, Phase.UPDATING)


def test_where_late_learners_are_left_out_each_stops_at_its_share() -> None:
    with Simulation(learners=3, late_learners=1) as world:
        (actor,) = running(world, "a")
        learner = learner_of(world)
        for _ in range(2 * learner.settings.batch_steps):
            world.step(actor, 1)
            deliver(world, actor)
        assert learner.cycle.phase is not Phase.COLLECTING
        assert learner.cycle.batch.steps >= learner.settings.batch_steps
        world.end()


def test_a_batch_that_the_others_train_without_is_booked_as_unfinished(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 12)
    world.exchange()
    learner = learner_of(world)
    steps = learner.cycle.batch.steps
    world.end_collecting()
    world.exchange()
    learner.drop_batch()
    assert steps
    assert learner.ledger.total().dropped["unfinished"] >= steps
    assert learner.ledger.total().pending == 0


def test_slots_of_a_learner_begin_where_those_before_it_end() -> None:
    table = SlotTable(first=100)
    assert [table.assign(name, name.encode(), 4, ("a", "b")).first for name in ("a", "b")] == [100, 104]
    assert table.most == 8
    assert table.assign("a", b"another", 4, ()).first == 100
