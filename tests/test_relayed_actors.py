"""Several actors on one connection, as behind a relay: each is a peer of its own, by (connection, incarnation)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from conversations import down, hear, hello
from simulated_actor import ENVS
from simulated_settings import SETTINGS
from simulation import Simulation, learner_of, running

from dppo.actor.session.states import State
from dppo.learner.session.rate_limit import BURST_MESSAGES, MAX_STRIKES, PeerLimits
from dppo.learner.session.records import Kick, Note, PeerKey, Send
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.errors import HostileError, ProtocolError
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import Bye, Policy, Reject, RelayHello, Stop, Tally, Welcome

ONE, OTHER = b"one-----", b"other---"
RELAY = b"relay"
RELAY_HELLO = RelayHello(PROTOCOL_VERSION, PROTOCOL_VERSION, "test", "relay")


@pytest.fixture
def relayed() -> Iterator[Simulation]:
    with Simulation(is_relayed=True) as world:
        yield world


def session_for(most: int) -> LearnerSession:
    """Return a learner with a relay on the connection RELAY, which may carry so many actors."""
    session = LearnerSession(replace(SETTINGS, actors_per_relay=most), Ledger(), SlotTable())
    session.receive(PeerKey(RELAY), RELAY_HELLO, None, 0.0)
    return session


def rejects(actions: Sequence[object]) -> list[Reject]:
    return [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, Reject)]


# A run


def test_two_actors_on_one_connection_join_deliver_stop_and_one_leaves_while_the_other_goes_on(
    relayed: Simulation,
) -> None:
    leaves, stays = running(relayed, "leaves", "stays")
    learner = learner_of(relayed)
    assert {key.connection for key in learner.peer_table.peers} == {b"relay-0"}
    assert {key.incarnation for key in learner.peer_table.peers} == {leaves.incarnation, stays.incarnation}
    welcomes = {send.peer: send.message.first_slot for send in relayed.sent if isinstance(send.message, Welcome)}
    assert sorted(welcomes.values()) == [0, ENVS]
    asked = {send.peer: send.message.segment_steps for send in relayed.sent if isinstance(send.message, Policy)}
    assert asked == dict.fromkeys(learner.peer_table.peers, 3)  # T: a quarter of 40 steps of 2 x 2 environments
    relayed.run_until_updates(2)
    assert {send.peer for send in relayed.sent if isinstance(send.message, Stop)} == set(learner.peer_table.peers)
    relayed.step(leaves, 2)
    relayed.terminate(leaves)
    relayed.calm(2)
    assert leaves.exit is not None
    assert leaves.exit.code == 0
    assert [peer.actor for peer in learner.peer_table.peers.values()] == ["stays"]
    relayed.run_until_updates(2)
    assert stays.alive
    assert learner.cycle.segment_steps == 5  # the batch is asked of those that are left
    relayed.check()
    relayed.end()
    total = learner.ledger.total()
    assert total.sealed == leaves.sealed_steps + stays.sealed_steps
    assert total.sealed == total.trained + total.dropped.total()
    assert total.dropped["actor_lost"] == 0


def test_actors_with_a_connection_of_their_own_and_relayed_ones_train_together(relayed: Simulation) -> None:
    (first,) = running(relayed, "relayed")
    relayed.is_relayed = False
    own = relayed.start("own")
    relayed.run_until_updates(2)
    keys = {peer.actor: key for key, peer in learner_of(relayed).peer_table.peers.items()}
    assert keys["relayed"] == (b"relay-0", first.incarnation)
    assert keys["own"].incarnation == b""
    assert own.alive
    relayed.end()


# Losses


def test_the_end_of_the_connection_is_that_of_all_that_it_carries_and_they_come_back_on_the_next(
    relayed: Simulation,
) -> None:
    actors = running(relayed, "a", "b")
    for actor in actors:
        relayed.step(actor, 4)
    relayed.cut_relay(lose_up=True)
    learner = learner_of(relayed)
    assert not learner.peer_table.peers
    gone = [note for note in relayed.notes if "is gone" in note]
    assert gone == [f"{name} is gone (connection lost)" for name in ("relay relay", "a", "b")]
    for actor in actors:
        relayed.attach(actor)
        actor.driver.connected()
    relayed.run_until_updates(1)
    assert {key.connection for key in learner.peer_table.peers} == {b"relay-1"}
    relayed.end()


def test_an_actor_that_the_relay_lost_is_gone_alone_and_gets_its_policy_again_on_the_same_connection(
    relayed: Simulation,
) -> None:
    lost, other = running(relayed, "lost", "other")
    learner = learner_of(relayed)
    relayed.run_until_updates(1)
    relayed.train()
    relayed.cut(lost, lose_up=True, noticed=True)  # with the policy that was on its way
    relayed.exchange()
    assert [peer.actor for peer in learner.peer_table.peers.values()] == ["other"]
    relayed.attach(lost)
    lost.driver.connected()
    relayed.run_until_updates(2)
    assert lost.session.state in (State.RUNNING, State.WAITING)
    assert lost.session.policy == other.session.policy
    assert len(learner.peer_table.peers) == 2
    relayed.end()


# Limits


def test_an_incarnation_that_breaks_the_protocol_is_refused_alone(relayed: Simulation) -> None:
    rude, polite = running(relayed, "rude", "polite")
    assert rude.connection is not None
    for _ in range(MAX_STRIKES):
        relayed.hand_to_learner(rude.connection, b"\xc1", None)
    assert isinstance(down(rude)[-1], Reject)
    assert not relayed.kicked
    hear(relayed, rude)
    assert rude.exit is not None
    assert rude.exit.code == 3
    relayed.run_until_updates(2)
    assert polite.alive
    assert [peer.actor for peer in learner_of(relayed).peer_table.peers.values()] == ["polite"]


def test_what_is_of_no_known_incarnation_ends_the_connection_with_all_that_it_carries(relayed: Simulation) -> None:
    running(relayed, "a", "b")
    learner = learner_of(relayed)
    for _ in range(MAX_STRIKES):
        actions = learner.violation(PeerKey(b"relay-0", ONE), ProtocolError("odd"), relayed.now)
    assert Kick(b"relay-0") in actions
    assert [action.text for action in actions if isinstance(action, Note)] == ["a, b was disconnected: odd"]
    assert not learner.peer_table.peers


def test_a_relay_carries_no_more_actors_than_it_may() -> None:
    session = session_for(1)
    session.receive(PeerKey(RELAY, ONE), hello(actor="one", incarnation=ONE), None, 0.0)
    (no,) = rejects(session.receive(PeerKey(RELAY, OTHER), hello(actor="other", incarnation=OTHER), None, 0.0))
    assert (no.code, no.fatal) == ("full", False)
    assert [peer.actor for peer in session.peer_table.peers.values()] == ["one"]
    assert OTHER not in session.ledger.accounts
    session.receive(PeerKey(RELAY, ONE), Bye("enough", Tally()), None, 1.0)
    assert not rejects(session.receive(PeerKey(RELAY, OTHER), hello(actor="other", incarnation=OTHER), None, 2.0))


def test_a_hello_in_the_envelope_of_another_process_ends_the_connection() -> None:
    session = session_for(2)
    actions = session.receive(PeerKey(RELAY, ONE), hello(actor="other", incarnation=OTHER), None, 0.0)
    assert Kick(RELAY) in actions
    assert not session.peer_table.peers
    assert not session.ledger.accounts


def test_a_process_that_comes_by_another_way_takes_its_account_along() -> None:
    session = session_for(2)
    said = hello(actor="one", incarnation=ONE)
    for key in (PeerKey(RELAY, ONE), PeerKey(b"own"), PeerKey(RELAY, ONE)):
        session.receive(key, said, None, 0.0)
        assert list(session.peer_table.peers) == [key]
        assert session.peer_table.peers[key].account is session.ledger.accounts[ONE]


def test_a_flood_of_one_incarnation_costs_the_others_nothing() -> None:
    limits, one, other = PeerLimits(2), PeerKey(RELAY, ONE), PeerKey(RELAY, OTHER)
    limits.attach(RELAY, 0.0)
    for _ in range(int(BURST_MESSAGES)):
        limits.spend(one, 0.0)
    limits.give_back(one, 1)
    limits.spend(one, 0.0)
    with pytest.raises(HostileError):
        limits.spend(one, 0.0)
    for key, messages in ((other, BURST_MESSAGES), (PeerKey(RELAY), 2 * BURST_MESSAGES)):
        limits.spend(key, 0.0, messages)
        with pytest.raises(HostileError):
            limits.spend(key, 0.0)


def test_records_of_incarnations_are_bounded_and_end_with_their_connection() -> None:
    limits = PeerLimits(3)
    for number in range(1000):
        limits.spend(PeerKey(RELAY, number.to_bytes(8, "big")), 0.0)
    assert len(limits._records[RELAY].carried) == 6
    limits.forget(RELAY)
    assert not limits._records


def test_unknown_incarnations_are_paid_for_by_their_connection() -> None:
    session = session_for(2)
    joined = PeerKey(RELAY, ONE)
    session.receive(joined, hello(actor="one", incarnation=ONE), None, 0.0)
    assert session.peer_table.paying(joined) == joined
    assert session.peer_table.paying(PeerKey(RELAY, OTHER)) == PeerKey(RELAY)
    assert session.peer_table.paying(PeerKey(b"own")) == PeerKey(b"own")


def test_the_bytes_of_a_connection_are_those_of_all_that_it_may_carry() -> None:
    alone, relay = session_for(1), session_for(3)
    for session in (alone, relay):
        session.receive(PeerKey(RELAY, ONE), hello(actor="one", incarnation=ONE, envs=2 * ENVS), None, 0.0)
    one, unknown = alone.budget.allowed_bytes(RELAY), alone.budget.allowed_bytes(None)
    assert relay.budget.allowed_bytes(RELAY) == one + 2 * unknown
    assert relay.budget.allowed_bytes(None) == relay.budget.allowed_bytes(b"another") == unknown
    relay.receive(PeerKey(RELAY, OTHER), hello(actor="other", incarnation=OTHER, envs=2 * ENVS), None, 0.0)
    assert relay.budget.allowed_bytes(RELAY) == 2 * one + unknown
