"""Lost connections, repeated and late messages, strangers, and what no peer of ours says."""

import pytest
from conversations import deliver, down, fill_batch, hear, hello, up
from simulated_settings import LEASE_SECONDS, ROUND_SECONDS
from simulation import Simulation, learner_of, running

from dppo.actor.session.states import State
from dppo.learner.session.phases import Phase
from dppo.learner.session.rate_limit import MAX_RECORDS, MAX_STRIKES
from dppo.learner.session.records import PeerKey, Send
from dppo.learner.session.session import HEARTBEAT_SECONDS
from dppo.protocol.codec import decode_from_actor
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import (
    Ack,
    Hello,
    Nack,
    Ping,
    Pong,
    Reject,
    Rollout,
    Who,
)

# Lost, repeated, unknown


def test_a_repeated_rollout_is_acknowledged_again_and_not_trained_on(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 5)
    assert actor.connection is not None
    frames = actor.connection.up[0]
    deliver(world, actor)
    world.hand_to_learner(actor.connection, *frames)
    assert [message.upto for message in down(actor) if isinstance(message, Ack)] == [1, 1]
    (account,) = learner_of(world).ledger.accounts.values()
    assert account.duplicates == 1
    assert account.pending == learner_of(world).cycle.batch.steps == actor.sealed_steps
    world.check()


def test_an_unknown_peer_is_asked_who_it_is_then_says_hello_and_sends_again_what_was_lost(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 10)
    world.cut(actor, lose_up=True, noticed=True)
    world.attach(actor)
    world.pass_time(HEARTBEAT_SECONDS)
    assert [type(message) for message in up(actor)] == [Ping]
    deliver(world, actor)
    assert [type(message) for message in down(actor)] == [Who]
    hear(world, actor)
    assert [type(message) for message in up(actor)] == [Hello]
    deliver(world, actor)
    hear(world, actor)
    assert [message.seq for message in up(actor) if isinstance(message, Rollout)] == [1, 2]
    world.exchange()
    world.check()
    assert learner_of(world).ledger.total().pending == actor.sealed_steps


@pytest.mark.parametrize("arrived", [0, 1])
def test_rollouts_that_come_again_on_a_new_connection_during_a_stop_are_taken(world: Simulation, arrived: int) -> None:
    """Rollouts have the T that was asked for on the old connection; the new one was never sent a policy."""
    actor, other = running(world, "a", "b")
    world.step(actor, 10)
    assert actor.connection is not None
    world.deliver_up(actor.connection, arrived)
    fill_batch(world, other)
    assert learner_of(world).cycle.phase is Phase.STOPPING
    world.cut(actor, lose_up=True, noticed=True)
    world.attach(actor)
    actor.driver.connected()
    world.tick(actor)
    world.exchange()
    assert learner_of(world).ledger.total().dropped["invalid"] == 0
    rollouts = [received.seq for received in world.handed if received.actor == "a"]
    assert rollouts[:2] == [1, 2]
    world.check()


def test_several_unknown_messages_lead_to_one_hello(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.cut(actor, lose_up=True, noticed=True)
    world.attach(actor)
    world.step(actor, 30)
    deliver(world, actor)
    assert [type(message) for message in down(actor)] == [Who]
    hear(world, actor)
    assert [type(message) for message in up(actor)] == [Hello]


def test_a_gap_in_the_sequence_is_not_accepted(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 10)
    assert actor.connection is not None
    actor.connection.up.popleft()
    deliver(world, actor)
    assert learner_of(world).cycle.batch.rollouts == []
    world.exchange()  # WHO, HELLO, both again
    assert learner_of(world).ledger.total().pending == actor.sealed_steps


def test_the_newest_connection_of_a_process_wins(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.cut(actor, lose_up=False, noticed=False)
    world.attach(actor)
    actor.driver.connected()
    world._flush(actor)
    world.exchange()
    assert actor.connection is not None
    assert list(learner_of(world).peer_table.peers) == [actor.connection.key]


def test_a_silent_actor_is_given_up_after_the_lease_and_nobody_waits_for_it(world: Simulation) -> None:
    fast, silent = running(world, "a", "b")
    world.cut(silent, lose_up=True, noticed=False)
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    assert learner_of(world).cycle.phase is Phase.STOPPING
    world.now += LEASE_SECONDS - 0.1
    fast.driver.tick()
    world._flush(fast)
    deliver(world, fast)
    world.now += 0.2
    world.tick_learner()
    assert [peer.actor for peer in learner_of(world).peer_table.peers.values()] == ["a"]
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert any("b has been silent" in note for note in world.notes)


def test_a_lost_connection_ends_the_wait_for_its_actor(world: Simulation) -> None:
    fast, slow = running(world, "a", "b")
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    assert slow.connection is not None
    world._do(learner_of(world).unreachable(slow.connection.id, world.now))
    assert learner_of(world).cycle.phase is Phase.UPDATING


def test_an_actor_that_hears_nothing_for_the_lease_makes_a_new_connection(world: Simulation) -> None:
    (actor,) = running(world, "a")
    old = actor.connection
    world.now += LEASE_SECONDS + 0.01
    world.tick(actor)
    assert actor.connection is not old
    assert [type(message) for message in up(actor)] == [Hello]
    assert actor.session.state is State.RUNNING  # it goes on stepping, as far as its credit reaches


def test_heartbeats_keep_an_idle_actor_and_its_learner_together(world: Simulation) -> None:
    (actor,) = running(world, "a")
    connection = actor.connection
    for _ in range(int(5 * LEASE_SECONDS / ROUND_SECONDS)):
        world.pass_time(ROUND_SECONDS)
        world.exchange()
    assert actor.connection is connection
    assert world.joined(actor)
    assert sum(isinstance(send.message, Pong) for send in world.sent) == pytest.approx(5 * LEASE_SECONDS, abs=2)


def test_a_clock_that_jumps_ahead_by_a_day_costs_a_reconnect_and_nothing_else(world: Simulation) -> None:
    running(world, "a", "b")
    world.calm(20)
    world.pass_time(86_400.0)
    world.run_until_updates(3)
    world.end()
    assert learner_of(world).ledger.total().dropped["learner_crash"] == 0


# Unreadable and impossible


def test_after_three_unreadable_messages_a_peer_is_sent_away(world: Simulation) -> None:
    (actor,) = running(world, "a")
    assert actor.connection is not None
    for strike in range(MAX_STRIKES):
        assert actor.connection.key in learner_of(world).peer_table.peers
        assert not any(isinstance(send.message, Reject) for send in world.sent), strike
        world.hand_to_learner(actor.connection, b"\xc1", None)
    assert actor.connection.key not in learner_of(world).peer_table.peers
    assert learner_of(world).refused_messages == MAX_STRIKES
    hear(world, actor)
    assert actor.exit is not None
    assert actor.exit.code == 3


@pytest.mark.slow
def test_strangers_who_send_garbage_do_not_fill_the_memory(world: Simulation) -> None:
    learner = learner_of(world)
    for number in range(2 * MAX_RECORDS):
        learner.violation(PeerKey(b"%d" % number), ProtocolError("garbage"), world.now)
    assert len(learner.peer_table.peer_limits) == MAX_RECORDS


def test_a_rollout_of_an_actor_whose_spaces_are_unknown_is_not_looked_at(world: Simulation) -> None:
    (actor,) = running(world, "a")
    learner = learner_of(world)
    learner.receive(
        PeerKey(b"elsewhere"), hello(actor="z", incarnation=b"stranger", spec=None, spec_hash=b""), None, world.now
    )
    actions = learner.receive(PeerKey(b"elsewhere"), Rollout(1, 1, 1, 5, 2, 0, 0, 9), b"", world.now)
    assert actions == [Send(PeerKey(b"elsewhere"), Who())]
    assert learner.ledger.total().sealed == 0
    del actor


@pytest.mark.parametrize("field", ["steps", "E", "T", "finals"])
def test_a_rollout_whose_header_and_blob_disagree_is_dropped_as_invalid_and_not_asked_for_again(
    world: Simulation, field: str
) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 5)
    assert actor.connection is not None
    header, blob = actor.connection.up.popleft()
    (rollout,) = [decode_from_actor(header, has_blob=True)]
    assert isinstance(rollout, Rollout)
    fields = {name: getattr(rollout, name) for name in Rollout.__struct_fields__}
    forged = Rollout(**{**fields, field: fields[field] + (16 if field == "T" else 1)})  # padding hides a row or two
    actions = learner_of(world).receive(actor.connection.key, forged, blob, world.now)
    answers = [action.message for action in actions if isinstance(action, Send)]
    assert [type(answer) for answer in answers] == [Nack, Ack]
    assert answers[0].reason.startswith("invalid")
    (account,) = learner_of(world).ledger.accounts.values()
    assert account.dropped["invalid"] == forged.steps
    assert account.in_flight == 0
    assert learner_of(world).cycle.batch.rollouts == []
    assert learner_of(world).refused_messages == 1


def test_a_damaged_rollout_is_made_up_for_where_every_actor_has_its_share() -> None:
    with Simulation(rule="even_shares") as world:
        actor, _ = running(world, "a", "b")
        world.step(actor, 100)
        assert actor.connection is not None
        world.damage(actor.connection)
        world.run_until_updates(3, rounds=50)
        assert learner_of(world).ledger.total().dropped["invalid"] > 0
        world.end()


def test_a_process_that_claims_absurdly_many_environments_gets_no_slots(world: Simulation) -> None:
    actions = learner_of(world).receive(PeerKey(b"elsewhere"), hello(envs=2**50), None, world.now)
    assert isinstance(actions[0], Send)
    assert isinstance(actions[0].message, Reject)
    assert not learner_of(world).slots._by_name


# Another history of the same run: its directory was put back to a backup, or copied while it ran


def test_a_rollout_of_a_lost_history_is_stale_though_its_version_is_the_current_one(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 5)
    world.crash_learner()
    world.notes.clear()
    world.former_terms.clear()  # as a backup, or a copy, knows nothing of what came after it
    world.start_learner()
    world.run_until_updates(1)
    account = learner_of(world).ledger.accounts[actor.incarnation]
    assert account.dropped["stale"] > 0
    assert sum("another history of this run" in note for note in world.notes) == 1
    world.check()


def test_an_actor_of_an_earlier_start_of_the_same_history_is_no_news(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 5)
    world.crash_learner()
    world.start_learner()
    world.run_until_updates(1)
    assert not [note for note in world.notes if "history" in note]
