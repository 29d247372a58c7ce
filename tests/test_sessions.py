"""The conversation between learner and actors, one rule of the protocol each."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from counting import ID, law
from graphs import categorical_graph
from sessions import (
    ENVS,
    GRACE_SECONDS,
    LEASE_SECONDS,
    ROUND_SECONDS,
    RUN_ID,
    SPEC,
    Process,
    Simulation,
    learner_of,
    numbers_of,
    running,
    welcomes,
)

from actor.actions import Exit as ExitAction
from actor.actions import Reconnect, State
from actor.actions import Send as ActorSend
from actor.contact import HELLO_FIRST_SECONDS, HELLO_MAX_SECONDS
from actor.driver import ActorDriver
from actor.session import DRAIN_SECONDS, ActorSession
from learner.admission import MAX_ENVS, refusal
from learner.conduct import MAX_RECORDS, MAX_STRIKES
from learner.peers import Kick, Send, Settings
from learner.phases import Phase
from learner.report import waiting_for
from learner.session import CREDIT, HEARTBEAT_SECONDS, LearnerSession
from learner.slots import SlotTable
from learner.stop_and_go import LOADING_SECONDS
from protocol import PROTOCOL_VERSION
from protocol.codec import decode_from_actor, decode_from_learner, encode
from protocol.errors import ProtocolError
from protocol.ledger import Ledger
from protocol.messages import (
    Ack,
    Bye,
    EnvSettings,
    Hello,
    Nack,
    Ping,
    Policy,
    Pong,
    Reject,
    Rollout,
    Stop,
    Stopped,
    Tally,
    TimeShares,
    Welcome,
    Who,
)
from protocol.snapshot import graph_digest
from protocol.specs import Leaf, spec_hash


@pytest.fixture
def world() -> Iterator[Simulation]:
    with Simulation() as made:
        yield made


@pytest.fixture
def dropping() -> Iterator[Simulation]:
    with Simulation(on_stop="drop") as made:
        yield made


def up(process: Process) -> list[Any]:
    """What is on its way to the learner."""
    assert process.connection is not None
    return [decode_from_actor(header, blob is not None) for header, blob in process.connection.up]


def down(process: Process) -> list[Any]:
    """What is on its way to the actor."""
    assert process.connection is not None
    return [decode_from_learner(header, blob is not None) for header, blob in process.connection.down]


def deliver(world: Simulation, process: Process) -> None:
    """All that it has sent reaches the learner."""
    assert process.connection is not None
    world.deliver_up(process.connection)


def hear(world: Simulation, process: Process) -> None:
    """All that was sent to it reaches it."""
    assert process.connection is not None
    world.deliver_down(process.connection)


def fill_batch(world: Simulation, process: Process) -> None:
    """This actor alone fills the batch; nobody has heard STOP yet."""
    while learner_of(world).phase is Phase.COLLECTING:
        world.step(process, 1)
        deliver(world, process)
        if learner_of(world).phase is Phase.COLLECTING:
            hear(world, process)


def only_pings_arrive(world: Simulation, process: Process) -> None:
    """So the learner knows of steps that it does not have."""
    world.pass_time(HEARTBEAT_SECONDS)
    assert process.connection is not None
    pings = [frames for frames in process.connection.up if frames[1] is None]
    assert pings
    for frames in pings:
        world.hand_to_learner(process.connection, *frames)


def hello(**changes: Any) -> Hello:
    plain = Hello(
        PROTOCOL_VERSION,
        PROTOCOL_VERSION,
        "test",
        "a",
        b"12345678",
        ENVS,
        Tally(),
        run_id=RUN_ID,
        spec_hash=spec_hash(SPEC),
        spec=SPEC,
    )
    return Hello(**{field: changes.get(field, getattr(plain, field)) for field in plain.__struct_fields__})


# Joining


def test_an_actor_joins_in_two_hellos(world: Simulation) -> None:
    actor = world.start("a")
    assert [type(message) for message in up(actor)] == [Hello]
    assert up(actor)[0].spec is None
    deliver(world, actor)
    assert [(type(m), m.credit) for m in down(actor)] == [(Welcome, 0)]
    hear(world, actor)
    (second,) = up(actor)
    assert second.spec == SPEC
    assert second.spec_hash == spec_hash(SPEC)
    deliver(world, actor)
    assert [(type(m), m.credit) for m in down(actor)] == [(Welcome, CREDIT)]
    assert learner_of(world).spec == SPEC


def test_an_actor_that_joins_while_others_collect_gets_welcome_and_policy_at_once(world: Simulation) -> None:
    running(world, "a")
    late = world.start("b")
    deliver(world, late)
    hear(world, late)
    deliver(world, late)
    assert [type(message) for message in down(late)] == [Welcome, Policy]


def test_an_unanswered_hello_is_repeated_at_growing_intervals(world: Simulation) -> None:
    world.crash_learner()
    actor = world.start("a")
    session, times, start = actor.session, [], world.now
    while len(times) < 6:
        world.now += 0.01
        for action in session.tick(world.now, TimeShares):
            if isinstance(action, ActorSend):
                assert isinstance(action.message, Hello)
                times.append(world.now - start)
    gaps = np.diff([0.0, *times])
    expected = [min(HELLO_FIRST_SECONDS * 2**n, HELLO_MAX_SECONDS) for n in range(6)]
    assert gaps == pytest.approx(expected, abs=0.02)


def test_slots_are_handed_out_side_by_side(world: Simulation) -> None:
    running(world, "a", "b", "c")
    assert sorted({welcome.first_slot for welcome in welcomes(world)}) == [0, ENVS, 2 * ENVS]


def test_the_segment_length_is_derived_from_the_environments_that_take_part(world: Simulation) -> None:
    running(world, "a")
    assert learner_of(world).cycle.segment_steps == 5  # 40 steps of 2 environments in 4 segments
    world.start("b")
    world.exchange()
    assert learner_of(world).cycle.segment_steps == 3


@pytest.mark.parametrize(
    ("changes", "code", "word"),
    [
        ({"protocol_min": PROTOCOL_VERSION + 1, "protocol_max": PROTOCOL_VERSION + 2}, "protocol", "same release"),
        ({"run_id": "run-2"}, "run", "run-2"),
        ({"incarnation": b"superse."}, "superseded", "--name"),
        ({"spec_hash": b"0" * 16}, "spec", "hash"),
        ({"envs": MAX_ENVS + 1}, "envs", "at most"),
    ],
)
def test_who_does_not_fit_is_refused_for_good_with_the_reason(changes: dict[str, Any], code: str, word: str) -> None:
    no = refusal(hello(**changes), run_id=RUN_ID, spec=SPEC, superseded={b"superse."})
    assert isinstance(no, Reject)
    assert (no.code, no.fatal) == (code, True)
    assert word in no.text


def test_an_actor_with_other_spaces_is_refused_and_its_process_ends_with_the_reason(world: Simulation) -> None:
    running(world, "a")
    spec = replace_spec(dtype="<i4")
    stranger = hello(actor="z", incarnation=b"stranger", spec=spec, spec_hash=spec_hash(spec))
    actions = learner_of(world).receive(b"elsewhere", stranger, None, world.now)
    reject = next(action.message for action in actions if isinstance(action, Send))
    assert isinstance(reject, Reject)
    assert reject.code == "spec"
    assert b"elsewhere" not in learner_of(world).peers
    session = ActorSession(actor="z", incarnation=b"stranger", envs=2, release="test")
    session.connected(0.0)
    (end,) = session.receive(reject, None, 0.0)
    assert isinstance(end, ExitAction)
    assert end.code == 3
    assert "spaces differ" in end.reason


def replace_spec(**changes: Any) -> Any:
    leaf = SPEC.observation[0]
    changed = Leaf(**{name: changes.get(name, getattr(leaf, name)) for name in leaf.__struct_fields__})
    return type(SPEC)(observation=(changed,), action=SPEC.action)


def test_a_welcome_to_another_environment_ends_the_process(world: Simulation) -> None:
    (actor,) = running(world, "a")
    assert actor.session._welcome is not None
    fields = {name: getattr(actor.session._welcome, name) for name in Welcome.__struct_fields__}
    (end,) = actor.session.receive(Welcome(**{**fields, "env": EnvSettings("Other-v0")}), None, world.now)
    assert isinstance(end, ExitAction)
    assert end.code == 3
    assert "Other-v0" in end.reason


def test_a_refusal_that_is_not_fatal_makes_the_actor_ask_again_after_the_given_time(world: Simulation) -> None:
    actor = world.start("a")
    actor.session.receive(Reject("full", "no room", fatal=False, retry_after_seconds=4.0), None, world.now)
    assert not any(isinstance(a, ActorSend) for a in actor.session.tick(world.now + 3.9, TimeShares))
    (again,) = actor.session.tick(world.now + 4.0, TimeShares)
    assert isinstance(again, ActorSend)
    assert isinstance(again.message, Hello)


# Names


def test_the_newest_process_of_a_name_stays_and_the_older_one_ends_without_flapping(world: Simulation) -> None:
    older, bystander = running(world, "a", "b")
    newer = world.start("a")
    world.calm(200)
    assert not older.alive
    assert older.exit is not None
    assert older.exit.code == 3
    assert "--name" in older.exit.reason
    assert newer.alive
    assert bystander.alive
    assert sum(isinstance(send.message, Reject) for send in world.sent) == 1
    world.end()


def test_a_superseded_process_that_was_away_is_refused_when_it_comes_back(world: Simulation) -> None:
    (older,) = running(world, "a")
    world.cut(older, lose_up=True, noticed=False)
    newer = world.start("a")
    world.exchange()
    world.calm(200)
    assert older.exit is not None
    assert older.exit.code == 3
    assert newer.alive


def test_a_superseded_process_is_refused_by_a_restarted_learner_too_and_is_not_counted_twice(world: Simulation) -> None:
    (older,) = running(world, "a")
    world.calm(20)
    world.cut(older, lose_up=True, noticed=True)
    world.start("a")
    world.exchange()
    world.checkpoint()
    world.crash_learner()
    world.start_learner()
    world.calm(200)
    assert older.exit is not None
    world.check()
    world.end()


def test_a_replacement_gets_the_slots_of_the_process_that_was_killed_with_new_random_streams(
    world: Simulation,
) -> None:
    older, _ = running(world, "a", "b")
    world.kill(older)
    newer = world.start("a")
    world.exchange()
    own = [(w.first_slot, w.life) for w in welcomes(world)]
    assert newer.session.state is State.RUNNING
    assert own[0] == (0, 0)
    assert own[-1] == (0, 1)


# Credit


def test_nothing_is_sent_beyond_credit_and_the_actor_waits_with_a_full_segment(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 1000)
    assert [type(message) for message in up(actor)] == [Rollout] * CREDIT
    assert actor.session.outbox == CREDIT
    assert actor.driver._collector is not None
    assert actor.driver._collector.rows == actor.session.segment_steps
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
    assert actor.session.outbox <= CREDIT + 1
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


def test_a_damaged_policy_is_not_loaded_and_the_actor_connects_again(world: Simulation) -> None:
    (actor,) = running(world, "a")
    graph = b"1 2"
    damaged = Policy(1, 2, graph_digest(graph), 5)
    actions = actor.session.receive(damaged, b"1 3", world.now)
    assert any(isinstance(action, Reconnect) for action in actions)
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
    assert actor.session.policy[0] == world.epoch


# Stop


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
    shipped = [n for received in learner_of(world).batch for n in numbers_of(received.segment)]
    assert set(slow.shipped[0]) <= set(shipped)
    assert learner_of(world).phase is Phase.UPDATING
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
    assert learner_of(world).phase is Phase.STOPPING
    world.exchange()
    assert learner_of(world).phase is Phase.UPDATING
    assert learner_of(world).latencies.stop == 0.0
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
    assert learner_of(world).phase is Phase.UPDATING
    assert any(note.startswith("b did not stop within") for note in world.notes)
    assert waiting_for(learner_of(world), world.now) == ""


def test_a_rollout_that_comes_after_the_update_is_dropped_as_stale_and_counted(world: Simulation) -> None:
    fast, slow = running(world, "a", "b")
    world.step(slow, 3)
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    world.now += GRACE_SECONDS + 0.01
    world.tick_learner()
    world.train()
    deliver(world, slow)
    assert any(isinstance(message, Nack) and "stale" in message.reason for message in down(slow))
    steps = slow.sealed_steps
    assert steps > 0
    assert learner_of(world).ledger.total().dropped["stale"] == steps
    hear(world, slow)
    assert slow.session.outbox == 0
    assert slow.notes == [note for note in slow.notes if "refused" not in note]  # nobody needs to read about these


def test_what_arrives_during_the_update_does_not_get_into_its_batch(world: Simulation) -> None:
    fast, slow = running(world, "a", "b")
    world.step(slow, 3)
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    world.now += GRACE_SECONDS + 0.01
    world.tick_learner()
    before = list(learner_of(world).batch)
    deliver(world, slow)
    assert learner_of(world).batch == before


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
    assert learner_of(world).phase is Phase.UPDATING
    assert learner_of(world).ledger.total().dropped.total() == 0
    assert set(slow.shipped[0]) <= {n for r in learner_of(world).batch for n in numbers_of(r.segment)}


def test_the_time_from_stop_to_the_last_answer_and_from_policy_to_the_first_step_is_measured(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.now += 0.5
    fill_batch(world, actor)
    world.now += 0.25
    world.exchange()
    latencies = learner_of(world).latencies
    assert latencies.stop == pytest.approx(0.25)
    assert latencies.policy == pytest.approx(0.5)


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
    assert account.pending == learner_of(world).cycle.batch_steps == actor.sealed_steps
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
    assert learner_of(world).batch == []
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
    assert list(learner_of(world).peers) == [actor.connection.id]


def test_a_silent_actor_is_given_up_after_the_lease_and_nobody_waits_for_it(world: Simulation) -> None:
    fast, silent = running(world, "a", "b")
    world.cut(silent, lose_up=True, noticed=False)
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    assert learner_of(world).phase is Phase.STOPPING
    world.now += LEASE_SECONDS - 0.1
    fast.driver.tick()
    world._flush(fast)
    deliver(world, fast)
    world.now += 0.2
    world.tick_learner()
    assert [peer.actor for peer in learner_of(world).peers.values()] == ["a"]
    assert learner_of(world).phase is Phase.UPDATING
    assert any("b has been silent" in note for note in world.notes)


def test_a_lost_connection_ends_the_wait_for_its_actor(world: Simulation) -> None:
    fast, slow = running(world, "a", "b")
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    assert slow.connection is not None
    world._do(learner_of(world).unreachable(slow.connection.id, world.now))
    assert learner_of(world).phase is Phase.UPDATING


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
        assert actor.connection.id in learner_of(world).peers
        assert not any(isinstance(send.message, Reject) for send in world.sent), strike
        world.hand_to_learner(actor.connection, b"\xc1", None)
    assert actor.connection.id not in learner_of(world).peers
    assert learner_of(world).refused_messages == MAX_STRIKES
    hear(world, actor)
    assert actor.exit is not None
    assert actor.exit.code == 3


def test_strangers_who_send_garbage_do_not_fill_the_memory(world: Simulation) -> None:
    learner = learner_of(world)
    for number in range(2 * MAX_RECORDS):
        learner.violation(b"%d" % number, ProtocolError("garbage"), world.now)
    assert len(learner.conduct) == MAX_RECORDS


def test_a_rollout_of_an_actor_whose_spaces_are_unknown_is_not_looked_at(world: Simulation) -> None:
    (actor,) = running(world, "a")
    learner = learner_of(world)
    learner.receive(b"elsewhere", hello(actor="z", incarnation=b"stranger", spec=None, spec_hash=b""), None, world.now)
    actions = learner.receive(b"elsewhere", Rollout(1, 1, 1, 5, 2, 0, 0, 9), b"", world.now)
    assert actions == [Send(b"elsewhere", Who())]
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
    actions = learner_of(world).receive(actor.connection.id, forged, blob, world.now)
    answers = [action.message for action in actions if isinstance(action, Send)]
    assert [type(answer) for answer in answers] == [Nack, Ack]
    assert answers[0].reason.startswith("invalid")
    (account,) = learner_of(world).ledger.accounts.values()
    assert account.dropped["invalid"] == forged.steps
    assert account.in_flight == 0
    assert learner_of(world).batch == []
    assert learner_of(world).refused_messages == 1


def test_a_damaged_rollout_is_made_up_for_where_every_actor_has_its_share() -> None:
    with Simulation(even_shares=True) as world:
        actor, _ = running(world, "a", "b")
        world.step(actor, 100)
        assert actor.connection is not None
        world.damage(actor.connection)
        world.run_until_updates(3, rounds=50)
        assert learner_of(world).ledger.total().dropped["invalid"] > 0
        world.end()


def test_a_process_that_claims_absurdly_many_environments_gets_no_slots(world: Simulation) -> None:
    actions = learner_of(world).receive(b"elsewhere", hello(envs=2**50), None, world.now)
    assert isinstance(actions[0], Send)
    assert isinstance(actions[0].message, Reject)
    assert learner_of(world).slots.to_state()["lives"] == []


# Ends


def test_at_the_end_of_the_run_everyone_says_bye_and_the_ledger_closes(world: Simulation) -> None:
    actors = running(world, "a", "b")
    world.calm(7)
    for actor in actors:
        world.step(actor, 2)
    world.end()
    total = learner_of(world).ledger.total()
    assert total.sealed == total.trained + total.dropped.total()
    assert total.sealed == sum(actor.sealed_steps for actor in actors)
    assert [actor.exit and actor.exit.code for actor in actors] == [0, 0]
    assert set(+total.dropped) <= {"shutdown"}
    assert learner_of(world).ledger.accounts == {}


def test_an_actor_that_does_not_say_bye_holds_the_end_up_for_the_grace_only(world: Simulation) -> None:
    _, hung = running(world, "a", "b")
    world.cut(hung, lose_up=True, noticed=False)
    world.finish()
    world.exchange()
    assert learner_of(world).phase is Phase.DRAINING
    world.now += GRACE_SECONDS
    world.tick_learner()
    assert learner_of(world).phase is Phase.STOPPED


def test_an_actor_that_reconnects_while_the_run_ends_is_heard_out(world: Simulation) -> None:
    patient, unlucky = running(world, "a", "b")
    world.step(unlucky, 2)
    world.cut(unlucky, lose_up=True, noticed=True)
    world.finish()
    assert learner_of(world).phase is Phase.DRAINING
    world.attach(unlucky)
    unlucky.driver.connected()
    world._flush(unlucky)
    world.exchange()
    assert learner_of(world).phase is Phase.STOPPED
    learner_of(world).close_accounts()
    world.check_end([patient, unlucky])


def test_the_run_is_not_over_before_the_bye_behind_an_unanswerable_message_is_heard(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 6)
    world.finish()
    hear(world, actor)
    assert not actor.alive
    connection = world.connections[b"peer-0"]
    assert len(connection.up) == 3
    world.deliver_up(connection, 1)
    assert world.notes[-1] == "a is gone (connection lost)"
    assert learner_of(world).phase is Phase.DRAINING
    world.exchange()
    assert world.notes[-1] == "a left: the end"
    assert learner_of(world).phase is Phase.STOPPED
    learner_of(world).close_accounts()
    world.check_end([actor])
    assert learner_of(world).ledger.total().dropped["actor_lost"] == 0


def test_of_a_lost_connection_nothing_more_is_expected_after_the_lease(world: Simulation) -> None:
    actor, _ = running(world, "a", "b")
    assert actor.connection is not None
    peer = actor.connection.id
    world.kill(actor)
    world._do(learner_of(world).unreachable(peer, world.now))
    assert learner_of(world).roster.heard_of(peer) is not None
    world.now += LEASE_SECONDS + 0.1
    world.tick_learner()
    assert learner_of(world).roster.heard_of(peer) is None
    assert sum("silent" in note for note in world.notes) == 1  # of the other one


def test_words_that_come_after_the_accounts_are_closed_do_no_harm(world: Simulation) -> None:
    _, slow = running(world, "a", "b")
    world.step(slow, 7)
    world.finish()
    world.now += 2 * GRACE_SECONDS
    world.tick_learner()
    learner_of(world).close_accounts()
    before = learner_of(world).ledger.to_state()
    world.exchange()
    assert not slow.alive
    assert learner_of(world).ledger.to_state() == before


def test_an_actor_that_was_away_at_the_end_may_join_the_resumed_run_and_is_counted_once(world: Simulation) -> None:
    _, away = running(world, "a", "b")
    world.calm(10)
    world.step(away, 9)
    only_pings_arrive(world, away)
    world.cut(away, lose_up=True, noticed=True)
    world.finish()
    world.exchange()
    world.now += 2 * GRACE_SECONDS
    world.tick_learner()
    learner_of(world).close_accounts()
    world.check_end([])
    assert learner_of(world).ledger.total().dropped["actor_lost"] > 0
    world.checkpoint()
    world.crash_learner()
    world.start_learner()
    world.run_until_updates(3)
    assert world.joined(away)
    world.check()
    world.end()
    assert learner_of(world).ledger.total().dropped["actor_lost"] == 0


def test_sigterm_delivers_everything_then_ends(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 7)
    world.terminate(actor)
    assert actor.alive
    assert not actor.driver.may_step
    assert [message.T for message in up(actor) if isinstance(message, Rollout)] == [5, 2]  # the partial one waits too
    for _ in range(3):
        world.exchange()
        world.pass_time(ROUND_SECONDS)
    world.exchange()
    assert actor.exit is not None
    assert (actor.exit.code, actor.exit.reason) == (0, "drained")
    assert learner_of(world).peers == {}
    total = learner_of(world).ledger.total()
    assert total.pending == total.sealed == actor.sealed_steps
    assert actor.sealed_steps == 7 * ENVS - 1  # one row was a reset
    assert total.dropped.total() == 0


def test_sigterm_without_a_learner_ends_after_the_grace(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.crash_learner()
    world.step(actor, 7)
    world.terminate(actor)
    world.pass_time(DRAIN_SECONDS - 0.1)
    assert actor.alive
    world.pass_time(0.2)
    assert actor.exit is not None
    assert actor.exit.code == 0
    assert "steps in 2 rollouts were not delivered" in actor.exit.reason


def test_sigterm_before_the_learner_was_ever_there_ends_at_once(world: Simulation) -> None:
    world.crash_learner()
    actor = world.start("a")
    world.terminate(actor)
    world.pass_time(ROUND_SECONDS)
    assert not actor.alive


def test_nothing_wakes_an_actor_that_has_ended(world: Simulation) -> None:
    (actor,) = running(world, "a")
    actor.driver.receive(Bye("over"), None)
    said = list(actor.driver.outgoing)
    actor.driver.receive(Policy(1, 9, graph_digest(b"1 9"), 5), b"1 9")
    actor.driver.receive(Bye("over"), None)
    actor.driver.tick()
    assert actor.session.state is State.OVER
    assert actor.driver.outgoing == said
    assert not actor.driver.may_step


# Crashes


def test_what_a_dead_learner_had_accepted_is_booked_from_its_journal_also_if_no_actor_comes_back(
    world: Simulation,
) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 10)
    world.exchange()
    accepted = learner_of(world).ledger.total().pending
    assert accepted == actor.sealed_steps > 0
    world.crash_learner()
    world.kill(actor)
    world.start_learner()
    world.check()
    total = learner_of(world).ledger.total()
    assert total.dropped["learner_crash"] == total.sealed == accepted


def test_an_update_that_no_checkpoint_knows_is_booked_as_lost_and_its_version_is_not_published_again(
    world: Simulation,
) -> None:
    running(world, "a", "b")
    world.run_until_updates(1)
    world.checkpoint()
    kept = learner_of(world).ledger.total().trained
    world.run_until_updates(1)
    lost = learner_of(world).ledger.total().trained - kept
    version = learner_of(world).snapshot.version
    world.crash_learner()
    world.start_learner()
    assert learner_of(world).ledger.total().dropped["learner_crash"] >= lost > 0
    world.run_until_updates(1)
    assert learner_of(world).snapshot.version > version
    world.end()


def test_the_journal_of_an_earlier_checkpoint_is_booked_once_however_often_the_learner_dies(world: Simulation) -> None:
    running(world, "a", "b")
    for _ in range(3):
        world.run_until_updates(1)
        world.checkpoint()
    for checkpoint in (-1, -2, -1, 0):
        world.calm(3)
        world.crash_learner()
        world.start_learner(checkpoint)
        world.check()
    world.run_until_updates(2)
    world.end()


def test_of_a_torn_entry_the_actor_itself_tells_the_next_learner(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 10)
    world.exchange()
    accepted = learner_of(world).ledger.total().pending
    world.crash_learner()
    world.start_learner(torn_bytes=1)
    assert 0 < learner_of(world).ledger.total().dropped["learner_crash"] < accepted
    world.run_until_updates(1)
    assert learner_of(world).ledger.total().dropped["learner_crash"] == accepted


def test_what_a_dead_learner_had_accepted_is_booked_when_its_actors_come_back(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 10)
    world.exchange()
    accepted = learner_of(world).ledger.total().pending
    assert accepted == actor.sealed_steps > 0
    world.crash_learner()
    world.start_learner(torn_bytes=len(world.journal[-1]))
    world.run_until_updates(1)
    assert learner_of(world).ledger.total().dropped["learner_crash"] == accepted
    assert any("accepted by a learner that died" in note for note in world.notes)
    world.end()


def test_steps_of_a_killed_actor_that_were_on_their_way_are_booked_as_lost_once_it_is_replaced(
    world: Simulation,
) -> None:
    victim, _ = running(world, "a", "b")
    world.step(victim, 9)
    only_pings_arrive(world, victim)
    world.kill(victim, lose_up=True)
    world.start("a")
    world.exchange()
    assert learner_of(world).ledger.total().dropped["actor_lost"] == victim.sealed_steps > 0
    world.run_until_updates(2)
    world.end()


# The real thing


def test_the_driver_steps_real_environments_with_real_policies_through_many_versions() -> None:
    settings = Settings(
        run_id=RUN_ID,
        epoch=1,
        env=EnvSettings(ID, vectorization="sync"),
        envs_per_actor=3,
        batch_steps=50,
        segment_steps=7,
        seed=1,
        on_stop="keep",
        lease_seconds=LEASE_SECONDS,
        stop_grace_seconds=GRACE_SECONDS,
    )
    learner = LearnerSession(settings, Ledger(), SlotTable())
    now = [0.0]
    notes: list[str] = []
    actor = ActorSession(actor="a", incarnation=b"12345678", envs=0, release="test")
    driver = ActorDriver(actor, note=notes.append, clock=lambda: now[0])
    driver.connected()
    trained: list[Any] = []

    def turn() -> None:
        now[0] += 0.01
        if driver.may_step:
            driver.step()
        driver.tick()
        outgoing, driver.outgoing = driver.outgoing, []
        answers = learner.tick(now[0])
        for send in outgoing:
            message = decode_from_actor(encode(send.message), send.blob is not None)
            answers += learner.receive(b"peer", message, send.blob, now[0])
        if learner.spec is not None and learner.phase in (Phase.WAITING, Phase.UPDATING):
            trained.extend(received.segment for received in learner.batch)
            version = learner.snapshot.version + 1
            answers += learner.publish(version, categorical_graph(np.zeros((4, 3)), version=version), now[0])
        for answer in answers:
            if isinstance(answer, Send):
                header = encode(answer.message)
                driver.receive(decode_from_learner(header, answer.blob is not None), answer.blob)

    while learner.snapshot.version < 6:
        turn()
    for action in learner.finish("enough", "shutdown", now[0]):
        if isinstance(action, Send):
            driver.receive(action.message, None)
    while learner.phase is not Phase.STOPPED:
        turn()
    learner.close_accounts()
    driver.close()
    total = learner.ledger.total()
    assert total.sealed == total.trained + total.dropped.total()
    assert total.trained == sum(segment.steps for segment in trained) >= 5 * 50
    checked = 0
    previous = trained[0].observations["observation"][0]
    for segment in trained:  # one unbroken life of every environment, across stops and versions
        observations = segment.observations["observation"]
        assert np.array_equal(observations[0], previous)
        previous = observations[-1]
        for t, column in np.argwhere(segment.valid):
            action = int(segment.actions["action"][t, column])
            expected, reward, terminated, _ = law(observations[t, column], action)
            assert segment.rewards[t, column] == reward
            assert segment.terminated[t, column] == terminated
            if not (terminated or segment.truncated[t, column]):
                assert np.array_equal(observations[t + 1, column], expected)
                checked += 1
    assert checked > 50


# Who may come, and as whom


def test_beyond_the_most_actors_one_more_is_told_to_come_back_and_a_restarted_one_is_not() -> None:
    with Simulation(max_actors=2) as world:
        running(world, "a", "b")
        third = world.start("c")
        deliver(world, third)
        hear(world, third)
        assert third.exit is None
        assert any("2 actors are connected" in note for note in third.notes)
        again = world.start("b")
        deliver(world, again)
        learner = learner_of(world)
        assert sorted(peer.actor for peer in learner.peers.values()) == ["a", "b"]
        assert {peer.incarnation for peer in learner.peers.values()} >= {again.incarnation}


def test_a_connection_cannot_become_another_process(world: Simulation) -> None:
    running(world, "a")
    learner = learner_of(world)
    learner.receive(b"x", hello(actor="x", incarnation=b"x" * 8), None, world.now)
    actions = learner.receive(b"x", hello(actor="y", incarnation=b"y" * 8), None, world.now)
    assert Kick(b"x") in actions
    assert b"x" not in learner.peers
    assert b"y" * 8 not in learner.ledger.accounts


def test_nobody_takes_over_the_account_of_another(world: Simulation) -> None:
    (actor,) = running(world, "a")
    learner = learner_of(world)
    actions = learner.receive(b"x", hello(actor="x", incarnation=actor.incarnation), None, world.now)
    assert Kick(b"x") in actions
    assert [peer.actor for peer in learner.peers.values()] == ["a"]


def test_connections_leave_nothing_behind(world: Simulation) -> None:
    learner = learner_of(world)
    for number in range(1000):
        peer, incarnation = b"%d" % number, number.to_bytes(8, "big")
        learner.receive(peer, hello(actor=f"a{number % 3}", incarnation=incarnation), None, world.now)
        learner.unreachable(peer, world.now)
    learner.tick(world.now + 2 * LEASE_SECONDS)
    roster = learner.roster
    left = [roster.peers, roster.lost, roster._connections, roster._names, learner.conduct]
    assert [len(table) for table in left] == [0] * 5
    assert len(roster._lives) == 3


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
    assert slow.connection.id in learner.peers
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
    while learner.phase is not Phase.STOPPING:  # the fast one fills the batch while the other's messages are on the way
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
    assert learner.phase is Phase.STOPPING
    hear(world, slow)
    deliver(world, slow)
    assert learner.phase is Phase.UPDATING
    assert learner.ledger.total().dropped["stale"] == 0


def test_after_a_connection_that_ended_over_a_policy_nobody_waits_until_one_is_read(world: Simulation) -> None:
    fast, slow = running(world, "fast", "slow")
    learner = learner_of(world)
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
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    assert learner.phase is Phase.UPDATING, "without half a second's wait"
    world.train()
    hear(world, slow)
    deliver(world, slow)
    hear(world, slow)
    deliver(world, slow)
    assert slow.session.policy == learner.cycle.current
    fill_batch(world, fast)
    hear(world, fast)
    deliver(world, fast)
    assert learner.phase is Phase.STOPPING, "it has read one: it is waited for again"
    world.exchange()
    world.run_until_updates(2)
    world.end()
