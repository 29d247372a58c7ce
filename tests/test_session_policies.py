"""Credit for rollouts, and policies on their way to quick and slow actors."""

import math

import pytest
from conversations import deliver, down, fill_batch, hear, up
from simulated_actor import ENVS
from simulated_settings import GRACE_SECONDS, ROUND_SECONDS
from simulation import Simulation, learner_of, running

from dppo.actor.session.actions import Note, Reconnect
from dppo.actor.session.states import State
from dppo.actor.session.task import RETRY_SECONDS
from dppo.learner.session.flow_control import CREDIT, SEGMENTS_PER_BATCH
from dppo.learner.session.phases import Phase
from dppo.learner.session.session import HEARTBEAT_SECONDS
from dppo.learner.session.stop_answers import LOADING_SECONDS
from dppo.protocol.codec import decode_from_learner
from dppo.protocol.messages import (
    Hello,
    Policy,
    Rollout,
    Stop,
    Stopped,
    TimeShares,
)
from dppo.protocol.snapshot import graph_digest

# Credit


def test_nothing_is_sent_beyond_credit_and_the_actor_waits_with_a_full_segment(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 1000)
    assert [type(message) for message in up(actor)] == [Rollout] * CREDIT
    assert len(actor.session.sealed) == CREDIT
    assert actor.driver._collector is not None
    assert actor.driver._collector.rows == actor.session.task.segment_steps
    assert not actor.driver.may_step


def test_an_acknowledgement_lets_a_waiting_actor_go_on_and_ship_what_it_held(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 1000)
    assert actor.connection is not None
    world.deliver_up(actor.connection, 1)
    hear(world, actor)
    world.step(actor, 1)
    assert [message.seq for message in up(actor)][-1] == CREDIT + 1


def test_the_partial_segment_is_shipped_at_a_stop_though_credit_is_used_up(world: Simulation) -> None:
    fast, slow = running(world, "a", "b")
    world.step(slow, 1000)
    fill_batch(world, fast)
    hear(world, slow)
    rollouts = [message for message in up(slow) if isinstance(message, Rollout)]
    assert [message.seq for message in rollouts] == list(range(1, CREDIT + 2))
    assert isinstance(up(slow)[-1], Stopped)


def test_reconnecting_again_and_again_without_getting_through_does_not_fill_the_memory(world: Simulation) -> None:
    (actor,) = running(world, "a")
    for _ in range(50):
        world.step(actor, 1000)
        world.cut(actor, lose_up=True, noticed=True)
        world.attach(actor)
        actor.driver.connected()
        world._flush(actor)
        while any(isinstance(message, Hello) for message in up(actor)):
            assert actor.connection is not None
            world.deliver_up(actor.connection, 1)
            hear(world, actor)
    assert len(actor.session.sealed) <= CREDIT + 1
    world.run_until_updates(3)
    world.end()


# Policies


def test_at_most_one_policy_is_on_its_way_to_an_actor_and_the_newest_wins(world: Simulation) -> None:
    fast, slow = running(world, "a", "b")
    for _ in range(3):  # the slow one's way back is blocked
        fill_batch(world, fast)
        hear(world, fast)
        deliver(world, fast)
        world.now += 1.1 * GRACE_SECONDS
        world.tick_learner()
        world.train()
        hear(world, fast)
        deliver(world, fast)
        deliver(world, slow)
    policies = [message for message in down(slow) if isinstance(message, Policy)]
    assert [policy.version for policy in policies] == [2]
    assert fast.session.policy == (1, 4)
    hear(world, slow)
    deliver(world, slow)
    assert [m.version for m in down(slow) if isinstance(m, Policy)] == [4]
    hear(world, slow)
    assert slow.session.policy == (1, 4)


def test_a_damaged_policy_is_not_loaded_and_asked_for_again_after_a_pause(world: Simulation) -> None:
    (actor,) = running(world, "a")
    graph = b"1 2"
    damaged = Policy(1, 2, graph_digest(graph), 5)
    actions = actor.session.receive(damaged, b"1 3", world.now)
    assert [type(action) for action in actions] == [Note]
    assert actor.session.policy == (1, 1)
    world.now += RETRY_SECONDS / 2
    assert not any(isinstance(action, Reconnect) for action in actor.session.tick(world.now, TimeShares))
    world.now += RETRY_SECONDS / 2
    world.calm()
    assert actor.session.state is State.RUNNING
    assert actor.session.policy == (1, 1)


def test_versions_only_rise(world: Simulation) -> None:
    running(world, "a")
    with pytest.raises(ValueError, match="versions only rise"):
        learner_of(world).publish(1, b"", world.now)


def test_actors_stop_acting_with_the_policy_of_a_dead_learner_as_soon_as_a_new_one_welcomes_them(
    world: Simulation,
) -> None:
    (actor,) = running(world, "a")
    world.crash_learner()
    world.start_learner()
    world.attach(actor)
    world.pass_time(HEARTBEAT_SECONDS)
    world.exchange()
    assert world.joined(actor)
    assert not actor.driver.may_step
    world.train()
    world.exchange()
    assert actor.driver.may_step
    assert actor.session.policy[0] == world.term


# Slow readers


def test_who_still_reads_its_policy_is_not_waited_for(world: Simulation) -> None:
    fast, slow = running(world, "fast", "slow")
    world.run_until_updates(1)
    assert slow.connection is not None
    learner = learner_of(world)
    unread: list[tuple[bytes, bytes | None]] = []
    for _ in range(200):  # nothing reaches it, and it still says PING
        unread += slow.connection.down
        slow.connection.down.clear()
        world.pass_time(ROUND_SECONDS)
        for process in (fast, slow):
            world.tick(process)
            world.step(process, 3)
        deliver(world, fast)
        deliver(world, slow)
        world.tick_learner()
        world.train()
        hear(world, fast)
        if world.updates >= 6:
            break
    assert world.updates >= 6, "the slow one held up the others"
    late = [note for note in world.notes if "did not stop" in note]
    assert len(late) <= 1, "once it was acting when it fell silent"
    assert slow.connection.key in learner.peer_table.peers
    assert sum(graph is not None for _, graph in unread) == 1, "one policy under way, whatever was published since"
    assert sum(isinstance(decode_from_learner(h, g is not None), Stop) for h, g in unread) <= 2
    slow.connection.down.extend(unread)
    world.calm(10)
    assert slow.session.policy == learner.cycle.current, "it skipped the versions in between"
    world.end()


def test_who_is_only_just_loading_its_policy_is_waited_for_and_no_step_goes_stale(world: Simulation) -> None:
    fast, slow = running(world, "fast", "slow")
    world.run_until_updates(1)
    learner = learner_of(world)
    held_from = world.now
    while (
        learner.cycle.phase is not Phase.STOPPING
    ):  # the fast one fills the batch while the other's messages are on the way
        world.pass_time(0.01)
        world.step(fast, 40)
        deliver(world, fast)
        world.tick_learner()
        world.train()
        hear(world, fast)
        assert world.now - held_from < LOADING_SECONDS / 2
    hear(world, fast)
    deliver(world, fast)
    world.tick_learner()
    assert learner.cycle.phase is Phase.STOPPING
    hear(world, slow)
    deliver(world, slow)
    assert learner.cycle.phase is Phase.UPDATING
    assert learner.ledger.total().dropped["stale"] == 0


def test_after_a_connection_that_ended_over_a_policy_nobody_waits_until_one_is_read(world: Simulation) -> None:
    fast, slow = running(world, "fast", "slow")
    learner = learner_of(world)
    together = learner.cycle.segment_steps
    alone = math.ceil(learner.settings.batch_steps / ENVS / SEGMENTS_PER_BATCH)
    fill_batch(world, fast)
    world.exchange()
    world.train()  # its policy is on the way to both
    hear(world, fast)
    deliver(world, fast)
    world.cut(slow, lose_up=True, noticed=True)
    world.attach(slow)
    slow.driver.connected()
    world._flush(slow)
    deliver(world, slow)
    assert slow.connection is not None
    world.deliver_down(slow.connection, 1)  # WELCOME; the policy is still on the way
    assert [type(message) for message in down(slow)] == [Policy]
    assert learner.cycle.segment_steps == alone, "the others' segments are as if it were not there"
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    assert learner.cycle.phase is Phase.UPDATING, "without half a second's wait"
    world.train()
    hear(world, slow)
    deliver(world, slow)
    hear(world, slow)
    deliver(world, slow)
    assert slow.session.policy == learner.cycle.current
    assert learner.cycle.segment_steps == together < alone
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    assert learner.cycle.phase is Phase.STOPPING, "it has read one: it is waited for again"
    world.exchange()
    world.run_until_updates(2)
    world.end()
