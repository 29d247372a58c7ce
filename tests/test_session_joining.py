"""Who joins, under which name, with which environments, and who is refused."""

from typing import Any

import numpy as np
import pytest
from conversations import deliver, down, hear, hello, up
from simulated_actor import ENVS, SPEC
from simulated_settings import LEASE_SECONDS, RUN_ID
from simulation import Simulation, learner_of, running, welcomes

from dppo.actor.session.actions import Exit as ExitAction
from dppo.actor.session.actions import Send as ActorSend
from dppo.actor.session.keepalive import HELLO_FIRST_SECONDS, HELLO_MAX_SECONDS
from dppo.actor.session.session import ActorSession
from dppo.actor.session.states import State
from dppo.learner.session.admission import MAX_ENVS, refusal
from dppo.learner.session.flow_control import CREDIT
from dppo.learner.session.records import Kick, PeerKey, Send
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.messages import (
    EnvSettings,
    Hello,
    Policy,
    Reject,
    TimeShares,
    Welcome,
)
from dppo.protocol.specs import Leaf, spec_hash

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
    assert learner_of(world).peer_table.spec == SPEC


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
    no = refusal(hello(**changes), run_id=RUN_ID, superseded={b"superse."})
    assert isinstance(no, Reject)
    assert (no.code, no.fatal) == (code, True)
    assert word in no.text


def test_an_actor_with_other_spaces_is_refused_and_its_process_ends_with_the_reason(world: Simulation) -> None:
    running(world, "a")
    learner_of(world).peer_table.spaces.is_settled = True  # something was trained on
    spec = replace_spec(dtype="<i4")
    stranger = hello(actor="z", incarnation=b"stranger", spec=spec, spec_hash=spec_hash(spec))
    actions = learner_of(world).receive(PeerKey(b"elsewhere"), stranger, None, world.now)
    reject = next(action.message for action in actions if isinstance(action, Send))
    assert isinstance(reject, Reject)
    assert reject.code == "spec"
    assert PeerKey(b"elsewhere") not in learner_of(world).peer_table.peers
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
    rejects = [send.message for send in world.sent if isinstance(send.message, Reject)]
    assert [reject.fatal for reject in rejects] == [False, True]  # prove that you are alive; you are superseded
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
    world.pass_time(0.1)  # it proves that it is alive
    world.exchange()
    own = [(w.first_slot, w.life) for w in welcomes(world)]
    assert newer.session.state is State.RUNNING
    assert own[0] == (0, 0)
    assert own[-1] == (0, 1)


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
        hear(world, again)
        world.pass_time(0.1)  # it proves that it is alive
        deliver(world, again)
        learner = learner_of(world)
        assert sorted(peer.actor for peer in learner.peer_table.peers.values()) == ["a", "b"]
        assert {peer.incarnation for peer in learner.peer_table.peers.values()} >= {again.incarnation}


def test_a_connection_cannot_become_another_process(world: Simulation) -> None:
    running(world, "a")
    learner = learner_of(world)
    learner.receive(PeerKey(b"x"), hello(actor="x", incarnation=b"x" * 8), None, world.now)
    actions = learner.receive(PeerKey(b"x"), hello(actor="y", incarnation=b"y" * 8), None, world.now)
    assert Kick(b"x") in actions
    assert PeerKey(b"x") not in learner.peer_table.peers
    assert b"y" * 8 not in learner.ledger.accounts


def test_nobody_takes_over_the_account_of_another(world: Simulation) -> None:
    (actor,) = running(world, "a")
    learner = learner_of(world)
    actions = learner.receive(PeerKey(b"x"), hello(actor="x", incarnation=actor.incarnation), None, world.now)
    assert Kick(b"x") in actions
    assert [peer.actor for peer in learner.peer_table.peers.values()] == ["a"]


def test_connections_leave_nothing_behind(world: Simulation) -> None:
    learner = learner_of(world)
    for number in range(1000):
        peer, incarnation = b"%d" % number, number.to_bytes(8, "big")
        learner.receive(PeerKey(peer), hello(actor=f"a{number % 3}", incarnation=incarnation), None, world.now)
        learner.unreachable(peer, world.now)
    learner.tick(world.now + 2 * LEASE_SECONDS)
    peer_table = learner.peer_table
    left = [peer_table.index, learner.peer_table.peer_limits]
    assert [len(table) for table in left] == [0] * 2
    assert not peer_table._owners._lives
    assert not learner.ledger.accounts
    assert not learner.slots._by_name
