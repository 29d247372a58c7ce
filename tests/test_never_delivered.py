"""Peers that never delivered: no slots, lives, accounts, names or places are kept for them."""

import json

import pytest
from simulation import Simulation, learner_of, running
from test_session_joining import hello

from dppo.learner.session.name_owners import OWNED_SECONDS
from dppo.learner.session.peer_table import PeerTable
from dppo.learner.session.records import PeerKey, Send
from dppo.learner.session.slots import MAX_PAST, SlotTable
from dppo.protocol.messages import Reject, Tally, Welcome


def say_hello(world: Simulation, peer: bytes, token: str = "", **changes: object) -> Reject | Welcome:
    """The learner's answer."""
    actions = learner_of(world).receive(PeerKey(peer), hello(**changes), None, world.now, token)
    return next(
        action.message
        for action in actions
        if isinstance(action, Send) and action.peer == PeerKey(peer) and isinstance(action.message, Reject | Welcome)
    )


@pytest.mark.slow
def test_nothing_is_kept_of_thousands_of_names_that_announced_much_and_left(world: Simulation) -> None:
    running(world, "honest")
    learner = learner_of(world)
    before = len(json.dumps(learner.ledger.to_state()))
    for number in range(3000):
        peer, incarnation = b"flood-%d" % number, (10**6 + number).to_bytes(8, "big")
        tally = Tally(5, 1000, 0, 0)
        answer = say_hello(world, peer, actor=f"n{number}", incarnation=incarnation, envs=4096 - number, tally=tally)
        assert isinstance(answer, Welcome)
        learner.unreachable(peer, world.now)
        if number % 100 == 0:
            world.now += 1.1
            learner.tick(world.now)
    world.now += 60.0
    for process in world.living:
        world.tick(process)
    world.exchange()
    learner.tick(world.now)
    assert len(json.dumps(learner.ledger.to_state())) < before + 500
    assert len(learner.ledger.accounts) <= 1
    assert len(learner.slots._by_name) <= 1
    assert len(learner.slots._past) <= MAX_PAST
    assert len(learner.peer_table._owners._lives) <= 1
    assert learner.ledger.total().sealed < 100


def test_slots_of_ranges_that_are_forgotten_come_back_in_later_lives() -> None:
    table = SlotTable()
    first = table.assign("a", b"1", 4, set())
    for number in range(MAX_PAST + 10):
        table.assign(f"n{number}", b"x", number + 1, {"a"})
        table.keep_only(lambda name: name == "a")
    again = table.assign("b", b"2", 3000, {"a"})
    assert again.first == first.end
    assert again.life > 0
    assert len(table._past) <= MAX_PAST


def test_places_taken_by_idle_names_go_to_those_that_want_in() -> None:
    with Simulation(max_actors=2) as world:
        world.start("x")  # so that there are spaces
        world.exchange()
        (gone,) = learner_of(world).peer_table.peers
        learner_of(world).unreachable(gone.connection, world.now)
        for number in range(2):
            say_hello(world, b"idle-%d" % number, actor=f"idle{number}", incarnation=b"idle---%d" % number)
        late = {"actor": "late", "incarnation": b"late----"}
        answer = say_hello(world, b"late", **late)
        assert isinstance(answer, Reject)
        assert (answer.code, answer.fatal) == ("full", False)
        for _ in range(12):
            world.now += 1.0
            for number in range(2):
                learner_of(world).peer_table.peers[PeerKey(b"idle-%d" % number)].heard = world.now
        assert isinstance(say_hello(world, b"late", **late), Welcome)
        assert len(learner_of(world).peer_table.peers) == 2


def test_a_name_belongs_to_the_token_of_the_actor_that_delivered_under_it_also_while_it_is_away(
    world: Simulation,
) -> None:
    (actor,) = running(world, "gpu")
    learner = learner_of(world)
    world.calm(10)
    account = learner.ledger.accounts[actor.incarnation]
    account.token = "alice.1"
    world.cut(actor, lose_up=True, noticed=True)
    world.tick_learner()
    for peer_table in (
        learner.peer_table,
        PeerTable(world.settings, learner.ledger, SlotTable(2), learner.peer_table.spec),
    ):
        no = peer_table._owners.refusal(hello(actor="gpu", incarnation=b"mallory!"), "mallory.2")
        assert no is not None
        assert no.fatal
        assert "another token" in no.text
        same = peer_table._owners.refusal(hello(actor="gpu", incarnation=actor.incarnation), "alice.9")
        assert same is None  # rotation changes the id, not the name
    learner.ledger.train(learner.cycle.batch.number)  # nothing of it is pending
    learner.peer_table._owners.free(world.now + OWNED_SECONDS, {actor.incarnation: world.now})
    again = learner.peer_table._owners.refusal(hello(actor="gpu", incarnation=b"mallory!"), "mallory.2")
    assert again is not None
    assert again.challenge  # free for who proves that it lives


def test_a_name_that_was_taken_and_under_which_nothing_was_delivered_is_not_lost_for_good(world: Simulation) -> None:
    running(world, "honest")
    say_hello(world, b"squat", "mallory.2", actor="gpu", incarnation=b"mallory!")
    no = say_hello(world, b"alice", "alice.1", actor="gpu", incarnation=b"alice---")
    assert isinstance(no, Reject)
    assert not no.fatal
    learner_of(world).unreachable(b"squat", world.now)
    world.pass_time(20.0)
    assert isinstance(say_hello(world, b"alice", "alice.1", actor="gpu", incarnation=b"alice---"), Welcome)
