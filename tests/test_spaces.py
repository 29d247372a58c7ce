"""Whose spaces the run has: the first to join may be wrong, or lie."""

import msgspec
import pytest
from conversations import hello
from simulated_actor import SPEC
from simulation import Simulation, learner_of, running

from dppo.learner.config import LearnerConfig
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Note, PeerKey, Send
from dppo.learner.session.run_spaces import difference
from dppo.learner.session.settings import why_not_trained
from dppo.protocol.action_masks import mask_leaf
from dppo.protocol.messages import Reject, Welcome
from dppo.protocol.specs import Leaf, Spec, check_spec, spec_hash

OTHER = Spec(SPEC.observation, (Leaf("action", "<i8", (), "discrete", categories=5),))
FOUR = Leaf("observation", "<f4", (4,), "box")
TWO_CHOICES = Leaf("action", "<i8", (), "discrete", categories=2)


def join(world: Simulation, name: str, spec: Spec, token: str = "") -> Reject | Welcome:
    """The learner's answer."""
    said = hello(actor=name, incarnation=name.ljust(8, "-").encode(), spec=spec, spec_hash=spec_hash(spec))
    actions = learner_of(world).receive(PeerKey(name.encode()), said, None, world.now, token)
    world.notes += [action.text for action in actions if isinstance(action, Note)]
    answers = [
        action.message for action in actions if isinstance(action, Send) and action.peer == PeerKey(name.encode())
    ]
    return next(answer for answer in answers if isinstance(answer, Reject | Welcome))


def test_an_actor_with_other_spaces_is_told_what_differs_and_not_refused_for_good_before_anything_was_trained() -> None:
    with Simulation() as world:
        join(world, "first", SPEC)
        no = join(world, "second", OTHER)
        assert isinstance(no, Reject)
        assert not no.fatal
        assert "action is 1 of 5 choices from 0 here, 1 of 4 choices from 0 in the run" in no.text


def test_spaces_that_most_actors_contradict_are_dropped_before_anything_was_trained_on() -> None:
    with Simulation() as world:
        join(world, "liar", OTHER)
        learner = learner_of(world)
        learner.publish(1, b"graph", world.now)
        assert isinstance(join(world, "one", SPEC), Reject)
        assert learner.peer_table.spec == OTHER
        assert isinstance(join(world, "two", SPEC), Welcome)
        assert learner.peer_table.spec == SPEC
        assert learner.cycle.phase is Phase.WAITING
        assert any("spaces were wrong" in note for note in world.notes)
        world.version = 1
        honest = world.start("a")
        world.run_until_updates(1)
        assert honest.exit is None
        no = join(world, "liar", OTHER)
        assert isinstance(no, Reject)
        assert no.fatal


def test_spaces_whose_actor_delivers_nothing_give_way_to_those_of_one_that_waits() -> None:
    with Simulation() as world:
        join(world, "liar", OTHER)
        learner = learner_of(world)
        learner.publish(1, b"graph", world.now)
        for _ in range(6):
            answer = join(world, "honest", SPEC)
            if isinstance(answer, Welcome):
                break
            world.now += 1.0
            learner.peer_table.peers[PeerKey(b"liar")].heard = world.now  # PING
        assert isinstance(answer, Reject)
        world.now += 1.0
        assert isinstance(join(world, "honest", SPEC), Welcome)
        assert learner.peer_table.spec == SPEC


def test_spaces_of_the_environment_on_the_learners_host_are_not_overruled() -> None:
    with Simulation() as world:
        learner_of(world).settle_spaces(SPEC)
        for number in range(5):
            no = join(world, f"liar{number}", OTHER)
            assert isinstance(no, Reject)
            assert no.fatal
            assert "action is 1 of 5 choices from 0 here, 1 of 4 choices from 0 in the run" in no.text
        assert learner_of(world).peer_table.spec == SPEC
        running(world, "a")
        world.run_until_updates(1)
        assert {peer.actor for peer in learner_of(world).peer_table.peers.values()} == {"a"}


def test_spaces_that_a_liar_gave_before_the_environment_was_made_here_are_dropped() -> None:
    with Simulation() as world:
        assert isinstance(join(world, "liar", OTHER), Welcome)
        learner = learner_of(world)
        actions = learner.settle_spaces(SPEC)
        (note,) = [action.text for action in actions if isinstance(action, Note)]
        assert "1 of 5 choices from 0 until now, 1 of 4 choices from 0 from now on" in note
        assert [action.peer for action in actions if isinstance(action, Send)] == [PeerKey(b"liar")]
        assert not learner.peer_table.peers
        no = join(world, "liar", OTHER)
        assert isinstance(no, Reject)
        assert no.fatal
        assert isinstance(join(world, "honest", SPEC), Welcome)
        assert learner.peer_table.spec == SPEC


def test_peers_that_have_the_spaces_of_the_environment_here_stay() -> None:
    with Simulation() as world:
        join(world, "honest", SPEC)
        assert learner_of(world).settle_spaces(SPEC) == []
        assert list(learner_of(world).peer_table.peers) == [PeerKey(b"honest")]


def test_spaces_that_something_was_trained_on_stay_whoever_contradicts(world: Simulation) -> None:
    running(world, "a")
    world.run_until_updates(1)
    for number in range(5):
        no = join(world, f"n{number}", OTHER)
        assert isinstance(no, Reject)
        assert no.fatal
    assert learner_of(world).peer_table.spec == SPEC
    assert learner_of(world).cycle.phase is not Phase.WAITING


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (Spec((FOUR,), (TWO_CHOICES, msgspec.structs.replace(TWO_CHOICES, name="more"))), "within another leaf"),
        (Spec((FOUR,), (TWO_CHOICES,), mask=(Leaf("mask", "|b1", (2,), "box"),)), "not one flag for each of the 2"),
        (Spec((FOUR,), (TWO_CHOICES,), mask=(mask_leaf((TWO_CHOICES,), "noise"),)), "and not noise"),
        (Spec((FOUR,), (TWO_CHOICES,), mask=(mask_leaf((TWO_CHOICES,), "observation.a"),)), "has no place"),
        (Spec((FOUR,), (TWO_CHOICES,), state=(Leaf("state", "<f4", (2,), "box"),)), "states are not supported"),
        (
            Spec((msgspec.structs.replace(FOUR, kind="discrete", dtype="<i8", categories=2),), (TWO_CHOICES,)),
            "of shape",
        ),
        (Spec((msgspec.structs.replace(FOUR, name="noise"),), (TWO_CHOICES,)), "and not noise"),
        (Spec((FOUR, msgspec.structs.replace(FOUR, name="more")), (TWO_CHOICES,)), "another leaf"),
        (Spec((FOUR, msgspec.structs.replace(FOUR, name="observation.a")), (TWO_CHOICES,)), "another leaf"),
        (Spec((FOUR,), (Leaf("action", "|u1", (2,), "box"),)), "uint8|u1"),
        (Spec((msgspec.structs.replace(FOUR, shape=(2**26,)),), (TWO_CHOICES,)), "max_rollout_bytes|GiB"),
    ],
)
def test_spaces_that_cannot_be_trained_on_are_refused_where_they_come_over_the_network(spec: Spec, word: str) -> None:
    check_spec(spec)
    assert not why_not_trained(Spec((FOUR,), (TWO_CHOICES,)), LearnerConfig())
    with Simulation(why_not_trained=lambda spec: why_not_trained(spec, LearnerConfig())) as world:
        no = join(world, "first", spec, token="laptop.1")
        assert isinstance(no, Reject)
        assert no.fatal
        assert any(part in no.text for part in word.split("|"))
        assert learner_of(world).peer_table.spec is None
        assert isinstance(join(world, "honest", Spec((FOUR,), (TWO_CHOICES,)), token="laptop.1"), Welcome)


def test_a_difference_names_the_leaf_and_both_sides() -> None:
    theirs = Spec((msgspec.structs.replace(FOUR, shape=(5,)),), (TWO_CHOICES,))
    assert (
        difference(theirs, Spec((FOUR,), (TWO_CHOICES,))) == "observation is float32 (5,) here, float32 (4,) in the run"
    )
