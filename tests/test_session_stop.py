"""STOP, the answers to it, and the grace."""

from collections.abc import Iterator

import pytest
from conversations import deliver, down, fill_batch, hear, up
from simulated_actor import Process, numbers_of
from simulated_settings import GRACE_SECONDS
from simulation import Simulation, learner_of, running

from dppo.actor.session.states import State
from dppo.learner.session.phases import Phase
from dppo.learner.status_reporter import waiting_for
from dppo.protocol.messages import (
    Nack,
    Rollout,
    Stop,
    Stopped,
    Welcome,
)


@pytest.fixture
def dropping() -> Iterator[Simulation]:
    with Simulation(on_stop="drop") as made:
        yield made


def test_stop_cuts_and_ships_the_partial_segment_and_the_environments_run_on(world: Simulation) -> None:
    fast, slow = running(world, "a", "b")
    world.step(slow, 2)
    assert not slow.shipped
    fill_batch(world, fast)
    hear(world, slow)
    assert [type(message) for message in up(slow)] == [Rollout, Stopped]
    assert slow.session.state is State.WAITING
    collector = slow.driver._collector
    world.exchange()
    shipped = [n for received in learner_of(world).cycle.batch.rollouts for n in numbers_of(received.segment)]
    assert set(slow.shipped[0]) <= set(shipped)
    assert learner_of(world).cycle.phase is Phase.UPDATING
    world.train()
    world.exchange()
    assert slow.driver._collector is collector
    assert learner_of(world).ledger.total().dropped.total() == 0


def test_under_on_stop_drop_the_partial_segment_is_thrown_away_and_booked(dropping: Simulation) -> None:
    world = dropping
    fast, slow = running(world, "a", "b")
    world.step(slow, 2)
    steps = 4
    fill_batch(world, fast)
    hear(world, slow)
    assert [type(message) for message in up(slow)] == [Stopped]
    assert len(slow.dropped) == steps
    world.exchange()
    assert learner_of(world).ledger.total().dropped["stop_partial"] >= steps
    world.check()
    world.train()
    world.end()


def test_the_learner_waits_for_every_answer_before_the_update(world: Simulation) -> None:
    fast, slow = running(world, "a", "b")
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    assert learner_of(world).cycle.phase is Phase.STOPPING
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert learner_of(world).cycle.latencies.stop == 0.0
    del slow


def test_after_the_grace_the_update_begins_without_the_late_actor_which_is_named(world: Simulation) -> None:
    fast, slow = running(world, "a", "b")
    world.step(slow, 1)
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    assert "b (last heard" in waiting_for(learner_of(world), world.now)
    assert "a (" not in waiting_for(learner_of(world), world.now)
    world.now += GRACE_SECONDS + 0.01
    world.tick_learner()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert any(note.startswith("b did not stop within") for note in world.notes)
    assert waiting_for(learner_of(world), world.now) == ""


def given_up(world: Simulation) -> Process:
    """An actor that has stepped and did not answer STOP within the grace: the update goes on without it."""
    fast, slow = running(world, "a", "b")
    world.step(slow, 3)
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    world.now += GRACE_SECONDS + 0.01
    world.tick_learner()
    return slow


def test_a_rollout_that_comes_after_the_update_is_dropped_as_stale_and_counted(world: Simulation) -> None:
    slow = given_up(world)
    world.train()
    deliver(world, slow)
    assert any(isinstance(message, Nack) and "stale" in message.reason for message in down(slow))
    steps = slow.sealed_steps
    assert steps > 0
    assert learner_of(world).ledger.total().dropped["stale"] == steps
    hear(world, slow)
    assert len(slow.session.sealed) == 0
    assert slow.notes == [note for note in slow.notes if "refused" not in note]  # nobody needs to read about these


def test_what_arrives_during_the_update_does_not_get_into_its_batch(world: Simulation) -> None:
    slow = given_up(world)
    before = list(learner_of(world).cycle.batch.rollouts)
    deliver(world, slow)
    assert learner_of(world).cycle.batch.rollouts == before


def test_an_actor_that_lost_its_connection_and_the_stop_with_it_is_told_again(world: Simulation) -> None:
    fast, slow = running(world, "a", "b")
    world.step(slow, 1)
    fill_batch(world, fast)
    world.cut(slow, lose_up=True, noticed=True)
    world.attach(slow)
    slow.driver.connected()
    world._flush(slow)
    deliver(world, slow)
    assert [type(message) for message in down(slow)] == [Welcome, Stop]
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert learner_of(world).ledger.total().dropped.total() == 0
    assert set(slow.shipped[0]) <= {n for r in learner_of(world).cycle.batch.rollouts for n in numbers_of(r.segment)}


def test_the_time_from_stop_to_the_last_answer_and_from_policy_to_the_first_step_is_measured(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.now += 0.5
    fill_batch(world, actor)
    world.now += 0.25
    world.exchange()
    latencies = learner_of(world).cycle.latencies
    assert latencies.stop == pytest.approx(0.25)
    assert latencies.policy == pytest.approx(0.5)
