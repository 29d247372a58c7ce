"""Even shares: no actor collects more than its part of a batch, and nobody waits for ever for a part that is lost."""

from collections.abc import Iterator

import pytest
from simulated_actor import ENVS, Process
from simulated_settings import LEASE_SECONDS
from simulation import Simulation, learner_of, running

from dppo.learner.session.phases import Phase

BATCH_STEPS = 24  # of two actors with ENVS environments each


@pytest.fixture
def world() -> Iterator[Simulation]:
    with Simulation(batch_steps=BATCH_STEPS, rule="even_shares") as made:
        yield made


def rows_until_it_waits(world: Simulation, process: Process, most: int = 100) -> int:
    rows = 0
    while process.driver.may_step and rows < most:
        world.step(process)
        rows += 1
    return rows


def test_an_actor_stops_by_itself_after_its_share(world: Simulation) -> None:
    fast, slow = running(world, "fast", "slow")
    share = BATCH_STEPS // (2 * ENVS)
    assert rows_until_it_waits(world, fast) == share
    world.exchange()
    assert rows_until_it_waits(world, fast) == 0
    assert learner_of(world).cycle.phase is Phase.COLLECTING
    assert rows_until_it_waits(world, slow) == share


def test_another_round_begins_when_all_shares_are_in_and_some_rows_were_no_steps(world: Simulation) -> None:
    actors = running(world, "a", "b")
    for actor in actors:
        rows_until_it_waits(world, actor)
    world.exchange()
    assert (
        0 < learner_of(world).cycle.batch.steps < BATCH_STEPS
    )  # the simulated environments reset themselves in some rows
    assert all(rows_until_it_waits(world, actor) > 0 for actor in actors)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING


def test_an_actor_that_dies_with_its_share_is_made_up_for_by_another_round_of_the_others(world: Simulation) -> None:
    survivor, victim = running(world, "survivor", "victim")
    rows_until_it_waits(world, survivor)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.COLLECTING
    world.kill(victim)
    for _ in range(3 * round(LEASE_SECONDS)):  # the lease of the dead one runs out
        world.pass_time(1.0)
        world.tick(survivor)
        world.exchange()
        rows_until_it_waits(world, survivor)
        if learner_of(world).cycle.phase is not Phase.COLLECTING:
            break
    assert learner_of(world).cycle.batch.steps >= BATCH_STEPS


def test_without_even_shares_an_actor_goes_on_until_it_is_stopped() -> None:
    with Simulation(batch_steps=BATCH_STEPS) as world:
        fast, _ = running(world, "fast", "slow")
        assert rows_until_it_waits(world, fast) > BATCH_STEPS // ENVS
