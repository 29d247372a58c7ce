"""Quorum: a batch ends when most environments have their share in, and every other one a part of it."""

from collections.abc import Iterator

import pytest
from simulated_actor import ENVS
from simulation import Simulation, learner_of, running
from test_collection_rules import peer

from dppo.learner.session.phases import Phase
from dppo.learner.session.quorum import LEAST_PART, QUORUM, Quorum

BATCH_STEPS = 3 * ENVS * 8  # of three actors, 8 rows each


@pytest.fixture
def world() -> Iterator[Simulation]:
    with Simulation(batch_steps=BATCH_STEPS, rule="quorum") as made:
        yield made
        made.check()


def test_the_quorum_counts_environments_and_the_part_counts_for_every_actor() -> None:
    rule = Quorum(100, grace_seconds=1.0)
    rule.begin(0.0)
    done, late = peer("done", envs=6, share=20, rows=20), peer("late", envs=4, share=20, rows=5)
    assert rule.is_full(1, [done, late])
    late.quota.rows = 4
    assert not rule.is_full(1, [done, late]), f"less than {LEAST_PART} of its share"
    late.quota.rows, late.slots = 5, peer("large", envs=5).slots
    assert not rule.is_full(1, [done, late]), f"6 of 11 are less than {QUORUM}"
    late.quota.is_excused = True
    assert rule.is_full(1, [done, late])
    done.quota.is_excused = True
    assert rule.is_full(1, [done, late]), "late is not waited for"
    assert not rule.is_full(1, [])
    assert not rule.is_full(0, [done]), "nothing to train on"
    assert rule.another_round(0, [done]) == [(done, 20 + 17)], "100 steps of 6 environments"
    assert rule.another_round(1, [done]) == ()


def test_a_slow_actor_is_cut_once_it_has_its_part_and_what_it_made_counts(world: Simulation) -> None:
    fast, second, slow = running(world, "fast", "second", "slow")
    share = next(iter(learner_of(world).peer_table.peers.values())).quota.share
    for actor in (fast, second):
        world.step(actor, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.COLLECTING
    world.step(slow, share // 4 + 1)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    made = {received.actor: 0 for received in learner_of(world).cycle.batch.rollouts}
    for received in learner_of(world).cycle.batch.rollouts:
        made[received.actor] += received.segment.counts.T
    assert made["fast"] == made["second"] == share
    assert share // 4 <= made["slow"] < share
    world.run_until_updates(3)


def test_an_actor_that_delivers_nothing_is_given_up(world: Simulation) -> None:
    fast, second, _ = running(world, "fast", "second", "dead")
    for _ in range(40):
        for actor in (fast, second):
            world.step(actor, 100)
        world.exchange()
        world.train()
        world.pass_time(0.2)
        world.exchange()
    assert world.updates >= 3


def test_an_actor_that_came_later_counts_where_all_others_are_gone(world: Simulation) -> None:
    (first,) = running(world, "only")
    world.kill(first)
    second = world.start("only")
    for _ in range(4):
        world.pass_time(0.1)
        world.exchange()
    world.step(second, 100)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
