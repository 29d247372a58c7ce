"""Exact quota: a batch is T rows of every slot, whichever actors make them, die and come back meanwhile."""

from collections.abc import Iterator

import pytest
from simulated_actor import ENVS, Process
from simulated_settings import LEASE_SECONDS
from simulation import Simulation, learner_of, running, welcomes

from dppo.learner.session.phases import Phase
from dppo.learner.session.session import LearnerSession
from dppo.protocol.messages import Reject

BATCH_STEPS = 24
SLOTS = 2 * ENVS
ROWS = BATCH_STEPS // SLOTS


@pytest.fixture
def world() -> Iterator[Simulation]:
    with Simulation(batch_steps=BATCH_STEPS, rule="quota", slots=SLOTS) as made:
        yield made
        made.check()


def in_hand(world: Simulation) -> int:
    return learner_of(world).cycle.batch.steps


def wait(world: Simulation, seconds: float) -> None:
    """Let time pass in which no actor steps, and all messages arrive."""
    for _ in range(round(seconds / 0.1)):
        world.pass_time(0.1)
        world.exchange()


def lose(world: Simulation, process: Process) -> None:
    """End the process's connection, and let the learner notice."""
    connection = process.connection
    assert connection is not None
    world.cut(process, lose_up=False, noticed=True)
    world.unreachable(connection.id)


def rejections(world: Simulation) -> list[Reject]:
    return [send.message for send in world.sent if isinstance(send.message, Reject)]


def test_a_batch_waits_for_the_slowest_for_as_long_as_it_takes(world: Simulation) -> None:
    fast, slow = running(world, "fast", "slow")
    world.step(fast, 100)
    world.exchange()
    for _ in range(ROWS):
        assert learner_of(world).cycle.phase is Phase.COLLECTING
        wait(world, 2 * LEASE_SECONDS)
        world.step(slow)
        world.step(fast, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert {received.segment.counts.T for received in learner_of(world).cycle.batch.rollouts} == {2}
    assert not [note for note in world.notes if "without" in note]


def test_a_batch_has_its_shares_whatever_bytes_may_wait() -> None:
    """Other rules train on a batch as it is where its bytes are all that may wait: not on the same steps each time."""
    for rule, slots in (("quota", SLOTS), ("even_shares", 0)):
        with Simulation(batch_steps=BATCH_STEPS, rule=rule, slots=slots, max_ingress_bytes=9_000) as world:
            fast, slow = running(world, "fast", "slow")
            world.step(fast, 100)
            world.exchange()
            is_cut_short = learner_of(world).cycle.phase is not Phase.COLLECTING
            assert is_cut_short == (rule != "quota"), rule
            world.step(slow, 100)
            world.exchange()
            assert learner_of(world).cycle.phase is Phase.UPDATING
            counts = [received.segment.counts for received in learner_of(world).cycle.batch.rollouts]
            assert (sum(count.T * count.E for count in counts) == BATCH_STEPS) == (rule == "quota"), rule
            assert any("max_ingress_bytes" in note for note in world.notes) == is_cut_short
            world.run_until_updates(2)
            world.check()


def test_an_actor_that_joins_in_the_middle_of_a_version_makes_its_whole_share(world: Simulation) -> None:
    (early,) = running(world, "early")
    world.step(early, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.COLLECTING, "the shares of two slots are missing"
    late = world.start("late")
    world.exchange()
    world.step(late, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING


def test_a_replaced_actors_steps_do_not_count_and_its_successor_makes_the_whole_share(world: Simulation) -> None:
    survivor, victim = running(world, "survivor", "victim")
    world.step(survivor, 100)
    world.step(victim, 3)
    world.exchange()
    before = in_hand(world)
    world.kill(victim)
    world.exchange()
    assert in_hand(world) == before, "it may come back"
    successor = world.start("victim")
    wait(world, 0.3)
    dropped = learner_of(world).ledger.total().dropped["unfinished"]
    assert 0 < dropped == before - in_hand(world)
    assert [note for note in world.notes if note.startswith(f"{dropped} steps of victim under version 1 do not count")]
    world.step(successor, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert [welcome.life for welcome in welcomes(world) if welcome.first_slot == ENVS][-1] == 1


def test_a_share_that_is_whole_counts_though_its_actor_is_replaced(world: Simulation) -> None:
    survivor, victim = running(world, "survivor", "victim")
    world.step(victim, 100)
    world.exchange()
    world.kill(victim)
    successor = world.start("victim")
    wait(world, 0.3)
    world.step(successor, 100)
    assert not successor.shipped, "it acts from the next version on"
    world.step(survivor, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert learner_of(world).ledger.total().dropped["unfinished"] == 0
    world.train()
    world.exchange()
    world.step(successor, 100)
    assert successor.shipped


def test_an_actor_that_comes_back_goes_on_with_its_share(world: Simulation) -> None:
    survivor, other = running(world, "survivor", "other")
    world.step(other, 3)
    world.exchange()
    world.cut(other, lose_up=True, noticed=True)
    world.exchange()
    world.attach(other)
    other.driver.connected()
    world._flush(other)
    world.exchange()
    for actor in (survivor, other):
        world.step(actor, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert learner_of(world).ledger.total().dropped["unfinished"] == 0


def test_a_spare_actor_is_put_off_until_environments_are_free(world: Simulation) -> None:
    survivor, victim = running(world, "survivor", "victim")
    world.step(victim, 3)
    world.step(survivor, 100)
    spare = world.start("spare")
    world.exchange()
    (no,) = rejections(world)
    assert (no.code, no.fatal) == ("full", False)
    assert f"the {SLOTS} environments of this run (collect.slots) have actors" in no.text
    world.exchange()
    victim.alive = False
    lose(world, victim)
    wait(world, 4.0)
    world.step(spare, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert welcomes(world)[-1].first_slot == ENVS
    assert welcomes(world)[-1].life == 1


def test_an_actor_whose_environments_were_taken_over_is_started_anew(world: Simulation) -> None:
    survivor, victim = running(world, "survivor", "victim")
    world.step(victim, 3)
    world.exchange()
    lose(world, victim)
    spare = world.start("spare")
    world.exchange()
    assert spare.session.policy[1] == 1
    world.attach(victim)
    victim.driver.connected()
    world._flush(victim)
    world.exchange()
    assert victim.exit is not None
    assert victim.exit.code == 3
    assert "another actor goes on with the environments of victim" in victim.exit.reason
    for actor in (survivor, spare):
        world.step(actor, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING


def test_an_actor_of_more_environments_than_the_run_has_is_refused(world: Simulation) -> None:
    with Simulation(batch_steps=BATCH_STEPS, rule="quota", slots=ENVS - 1) as small:
        actor = small.start("a")
        small.exchange()
        assert actor.exit is not None
        assert "2 environments in one actor, and this run has 1 in all (collect.slots)" in actor.exit.reason


@pytest.mark.parametrize("nth", [0, 1, 2])
def test_rows_that_cannot_be_used_are_made_anew_as_a_whole_share(world: Simulation, nth: int) -> None:
    one, other = running(world, "one", "other")
    connection = one.connection
    assert connection is not None
    world.step(one, 2 * nth)
    world.deliver_up(connection)
    world.step(one, 100)
    world.damage(connection)
    world.step(other, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.COLLECTING
    assert learner_of(world).ledger.total().dropped["invalid"] > 0
    world.step(one, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    world.run_until_updates(2)


def test_environments_without_an_actor_are_named(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 100)
    world.exchange()
    wait(world, 8.0)
    wanted = f"for an actor for environments {ENVS}-{SLOTS - 1} of {SLOTS} (collect.slots), which none has"
    assert [note for note in world.notes if note.endswith(wanted)]


def test_rows_beyond_the_share_are_not_accepted(world: Simulation) -> None:
    one, _ = running(world, "one", "other")
    learner: LearnerSession = learner_of(world)
    (quota,) = [peer.quota for peer in learner.peer_table.peers.values() if peer.actor == "one"]
    assert learner.cycle.accepts(one.incarnation, 1, quota.share, learner.cycle.current)
    assert not learner.cycle.accepts(one.incarnation, 1, quota.share + 1, learner.cycle.current)
