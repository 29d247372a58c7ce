"""Deliveries of an actor: how many, how long, at once, and over a new connection."""

import numpy as np
from conversations import deliver, down, hear, up
from simulated_actor import ENVS
from simulation import Simulation, learner_of, running

from dppo.actor.session.states import State
from dppo.learner.session.flow_control import CREDIT
from dppo.learner.session.phases import Phase
from dppo.protocol.codec import decode_from_learner
from dppo.protocol.messages import Extend, Nack, Rollout, Stop, Welcome


def test_after_stop_an_actor_may_deliver_what_it_had_credit_for_and_no_more(world: Simulation) -> None:
    good, pump = running(world, "good", "pump")
    learner = learner_of(world)
    while learner.cycle.phase is Phase.COLLECTING:
        world.step(good, 1)
        deliver(world, good)
    assert pump.connection is not None
    for _ in range(100):  # it acts on acknowledgements, and is deaf to STOP
        world.step(pump, 20)
        deliver(world, pump)
        kept = [frames for frames in pump.connection.down if not isinstance(decode(frames), Stop)]
        pump.connection.down.clear()
        pump.connection.down.extend(kept)
        hear(world, pump)
    assert learner.cycle.phase is Phase.STOPPING
    rollouts = [received for received in learner.cycle.batch.rollouts if received.incarnation == pump.incarnation]
    assert len(rollouts) <= CREDIT + 1
    assert learner.ledger.accounts[pump.incarnation].dropped["stale"] > 0
    world.check()


def decode(frames: tuple[bytes, bytes | None]) -> object:
    return decode_from_learner(frames[0], frames[1] is not None)


def test_a_rollout_longer_than_was_asked_for_is_refused(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.has_bad_rollouts = True
    actor.session.task.segment_steps *= 10
    world.step(actor, 400)
    deliver(world, actor)
    nacks = [message for message in down(actor) if isinstance(message, Nack)]
    assert nacks
    assert "were asked for" in nacks[0].reason


def test_who_holds_the_newest_policy_is_not_sent_it_again(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 1)
    world.cut(actor, lose_up=True, noticed=True)
    world.attach(actor)
    actor.driver.connected()
    world._flush(actor)
    deliver(world, actor)
    assert [type(message) for message in down(actor)] == [Welcome, Extend]
    world.exchange()
    assert actor.session.state is State.RUNNING
    world.run_until_updates(2)
    world.end()


def test_a_share_that_was_begun_goes_on_over_a_new_connection() -> None:
    with Simulation(batch_steps=24, rule="even_shares") as world:
        first, second = running(world, "first", "second")
        world.step(first, 3)
        world.exchange()
        world.cut(first, lose_up=True, noticed=True)
        world.attach(first)
        first.driver.connected()
        world._flush(first)
        world.exchange()
        for actor in (first, second):
            world.step(actor, 100)
        assert sum(map(len, first.shipped)) <= 6 * ENVS, "and no more than its share"
        world.exchange()
        world.run_until_updates(2)
        world.end()


def test_a_full_segment_leaves_as_soon_as_there_is_credit_and_not_after_the_next_step(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 1000)
    assert actor.connection is not None
    world.deliver_up(actor.connection, 1)
    hear(world, actor)
    assert [message.seq for message in up(actor) if isinstance(message, Rollout)][-1] == CREDIT + 1


def test_resets_do_not_thin_batches_out() -> None:
    """Resets are one in five rows of the second environment."""
    sizes: dict[bool, list[int]] = {}
    for by_steps in (False, True):
        with Simulation(batch_steps=1024, envs_per_actor=8) as world:
            world.cuts_by_steps = by_steps
            actor = world.start("a")
            found: list[int] = []
            for _ in range(1000):
                world.exchange()
                if learner_of(world).cycle.phase is Phase.UPDATING:
                    found.append(learner_of(world).cycle.batch.steps)
                world.train()
                world.exchange()
                world.step(actor, 1)
            sizes[by_steps] = found
    assert min(sizes[True]) >= 1024
    assert max(sizes[True]) < 1024 + 4 * 8, "less than a row in each of its segments"
    assert np.mean(sizes[False]) > np.mean(sizes[True])
