"""Books of a learner that was killed: from journals torn and damaged, with actors that had gone and come back."""

import pytest
from simulated_actor import Process
from simulated_settings import LEASE_SECONDS
from simulation import Simulation, learner_of, running


def deliver_one(world: Simulation, actor: Process) -> int:
    """One rollout arrives and is acknowledged. Returns its steps."""
    before = len(actor.shipped)
    for _ in range(100):
        world.step(actor)
        world.exchange()
        if len(actor.shipped) > before:
            return len(actor.shipped[-1])
    raise AssertionError("no rollout was sealed")


def restart(world: Simulation, checkpoint: int, *, torn_bytes: int = 0) -> None:
    world.crash_learner()
    world.start_learner(checkpoint, torn_bytes=torn_bytes)
    world.check()


def test_steps_that_only_a_later_checkpoint_knew_of_are_booked_by_an_earlier_one_from_later_records(
    world: Simulation,
) -> None:
    (actor,) = running(world, "a")
    taken = deliver_one(world, actor)
    world.checkpoint()
    restart(world, -1, torn_bytes=100_000)  # the checkpoint alone knows of the rollout
    world.run_until_updates(1)
    accepted = deliver_one(world, actor)
    known = learner_of(world).ledger.total()
    restart(world, 0)
    total = learner_of(world).ledger.total()
    assert total.sealed == known.sealed
    assert total.dropped["learner_crash"] == known.trained + known.pending + known.dropped["learner_crash"]
    assert total.dropped["learner_crash"] >= taken + accepted
    world.run_until_updates(1)
    world.end()


@pytest.mark.parametrize("records", [1, 2, 3])
def test_of_records_damaged_in_the_middle_the_next_ones_tell(world: Simulation, records: int) -> None:
    (actor,) = running(world, "a")
    taken = [deliver_one(world, actor) for _ in range(3)]
    first = next(number for number, disposal in world.disposals.items() if disposal and disposal.upto == 1)
    world.crash_learner()
    world.damage_journal(first, records)
    world.start_learner()
    world.check()
    left = taken if records < 3 else []
    assert learner_of(world).ledger.total().dropped["learner_crash"] == sum(left)
    world.run_until_updates(1)
    assert learner_of(world).ledger.total().dropped["learner_crash"] == sum(taken)
    world.end()


def test_every_step_is_found_however_often_the_journal_is_torn(world: Simulation) -> None:
    running(world, "a", "b")
    world.checkpoint()
    for round_, torn_bytes in enumerate((1, 500, 100_000, 170, 1)):
        world.calm(3, 4)
        if round_ % 2:
            world.checkpoint()
        restart(world, -1, torn_bytes=torn_bytes)
        world.calm(2)
        world.check()
    for checkpoint in (0, -1, 1, 0):
        restart(world, checkpoint)
    world.run_until_updates(2)
    sealed = sum(process.sealed_steps for process in world.processes.values())
    assert learner_of(world).ledger.total().sealed <= sealed
    world.end()


def test_what_an_actor_may_hold_that_came_back_to_a_learner_that_died_is_in_the_books(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.run_until_updates(1)
    world.leave_learner()  # which writes the actor off in its checkpoint: it may never come back
    world.start_learner()
    for _ in range(20):
        world.calm(steps=0)
    assert actor.session.policy == (world.term, world.version)  # it has
    heard = learner_of(world).ledger.total().sealed
    world.crash_learner()
    world.step(actor, 200)
    assert actor.sealed_steps > heard
    world.start_learner()
    total = learner_of(world).ledger.total()
    assert total.sealed + total.unknown >= actor.sealed_steps
    world.check()


def test_what_an_actor_may_hold_is_in_the_books_also_if_its_account_was_begun_anew(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.cut(actor, lose_up=True, noticed=True)
    for _ in range(3):
        world.now += LEASE_SECONDS
        world.tick_learner()
    assert learner_of(world).ledger.accounts == {}, "nothing is kept of an actor that never delivered"
    world.attach(actor)
    world.pass_time(10.0)
    world.exchange()
    deliver_one(world, actor)
    world.crash_learner()
    world.step(actor, 200)
    world.start_learner()
    total = learner_of(world).ledger.total()
    assert total.sealed + total.unknown >= actor.sealed_steps > total.sealed
    world.check()


def test_what_a_learner_of_an_earlier_checkpoint_took_for_lost_is_not_lost_to_a_later_one(world: Simulation) -> None:
    (actor,) = running(world, "a")
    taken = deliver_one(world, actor)
    world.checkpoint()
    more = deliver_one(world, actor)
    restart(world, 0, torn_bytes=100_000)  # knows of neither rollout before the actor is back
    world.calm(2, 0)
    assert learner_of(world).ledger.total().dropped["learner_crash"] == taken + more
    restart(world, -1)  # knows of the first one, and of the other by what the actor told
    assert learner_of(world).ledger.total().dropped["learner_crash"] == taken + more
    world.run_until_updates(1)
    world.end()
