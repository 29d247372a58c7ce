"""States of actors as the screen names them, out of real sessions."""

from simulation import Simulation
from test_open_segments import Watched


def states(watched: Watched) -> list[str]:
    return [actor.state for actor in watched.status().actors]


def test_an_actor_is_joining_until_its_first_policy_and_stopped_after_a_stop(world: Simulation) -> None:
    watched = Watched(world)
    actor = world.start("a")
    for _ in range(5):
        world.exchange()
    assert states(watched) == ["joining"]  # it waits for a policy, and has answered no STOP
    world.train()
    world.exchange()
    assert states(watched) == ["running"]
    world.step(actor, 1_000)
    world.exchange()
    assert states(watched) == ["stopped"]
    world.train()
    world.exchange()
    assert states(watched) == ["running"]


def test_an_actor_that_falls_silent_before_its_first_policy_is_silent(world: Simulation) -> None:
    watched = Watched(world)
    world.start("a")
    for _ in range(5):
        world.exchange()
    world.now += 4.0
    assert states(watched) == ["silent"]
