"""What actors say of their environments: who is stuck where, what crashed, which numbers are not finite."""

import dataclasses

import numpy as np
import pytest
from simulated_actor import SPEC
from simulation import Simulation, learner_of, running

from dppo.learner.session.env_faults import MOST_NOTES, EnvFaults
from dppo.learner.session.records import Note, PeerKey
from dppo.learner.status_reporter import waiting_for
from dppo.protocol.codec import decode_from_actor, decode_from_learner, encode
from dppo.protocol.messages import EnvFault, Nack, Rollout, Stop
from dppo.protocol.rollout import Counts, pack, unpack


def say(world: Simulation, fault: EnvFault, connection: bytes = b"a watchdog's own") -> list[str]:
    """The learner's notes about it; it answers nothing."""
    arrived = decode_from_actor(encode(fault), has_blob=False)
    actions = learner_of(world).receive(PeerKey(connection), arrived, None, world.now)
    assert all(isinstance(action, Note) for action in actions)
    return [action.text for action in actions if isinstance(action, Note)]


def test_a_stuck_actor_is_named_once_and_whenever_someone_waits_for_it(world: Simulation) -> None:
    stuck, other = running(world, "a", "b")
    world.step(stuck, 1)
    where = "for 3 s in env.step of environment 1 (sim.py:7 in step)"
    assert say(world, EnvFault(stuck.incarnation, "stuck", where)) == [f"a: stuck {where}"]
    later = where.replace("3 s", "4 s")
    assert say(world, EnvFault(stuck.incarnation, "stuck", later)) == []
    for _ in range(60):
        world.step(other, 5)
        assert other.connection is not None
        world.deliver_up(other.connection)
        world.deliver_down(other.connection)
        if any(isinstance(send.message, Stop) for send in world.sent):
            break
    assert later in waiting_for(learner_of(world), world.now + 1)


def test_who_speaks_again_is_stuck_no_more(world: Simulation) -> None:
    (actor,) = running(world, "a")
    say(world, EnvFault(actor.incarnation, "stuck", "here"))
    (peer,) = learner_of(world).peer_table.peers.values()
    assert peer.doing == "here"
    world.pass_time(2.0)
    world.exchange()
    assert peer.doing == ""
    assert say(world, EnvFault(actor.incarnation, "stuck", "there")) == ["a: stuck there"]


def test_the_word_of_a_watchdog_is_no_sign_of_life_of_its_actor(world: Simulation) -> None:
    (actor,) = running(world, "a")
    (peer,) = learner_of(world).peer_table.peers.values()
    heard = peer.heard
    world.now += 4.0
    say(world, EnvFault(actor.incarnation, "stuck", "here"))
    assert peer.heard == heard


@pytest.mark.parametrize("kind", ["stuck", "crashed"])
def test_nobody_listens_to_strangers(world: Simulation, kind: str) -> None:
    running(world, "a")
    assert say(world, EnvFault(b"stranger", kind, "the sky is falling")) == []


def test_what_an_environment_raised_cannot_steer_the_terminal(world: Simulation) -> None:
    (actor,) = running(world, "a")
    (note,) = say(world, EnvFault(actor.incarnation, "crashed", "one\n\x1b[2Jtwo\r\x07"))
    assert note == "a: one [2Jtwo"


def test_who_never_stops_complaining_is_not_shown_for_ever(world: Simulation) -> None:
    (actor,) = running(world, "a")
    notes = [note for n in range(200) for note in say(world, EnvFault(actor.incarnation, "crashed", f"crash {n}"))]
    assert len(notes) == MOST_NOTES
    assert notes[-1].endswith("no more will be said about its environments")


def test_rollouts_that_are_not_finite_are_refused_without_a_strike_and_told_once(world: Simulation) -> None:
    world.has_bad_rollouts = True
    (actor,) = running(world, "a")
    for round_ in range(5):
        world.step(actor, 5)
        assert actor.connection is not None
        header, blob = actor.connection.up.popleft()
        rollout = decode_from_actor(header, has_blob=True)
        assert isinstance(rollout, Rollout)
        segment = unpack(SPEC, Counts(rollout.T, rollout.E, rollout.finals, rollout.episodes), blob or b"")
        spoilt = dataclasses.replace(segment, rewards=np.full_like(segment.rewards, np.nan))
        actor.connection.up.appendleft((header, bytes(pack(SPEC, spoilt))))
        world.deliver_up(actor.connection)
        answers = [decode_from_learner(header, blob is not None) for header, blob in actor.connection.down]
        (nack,) = [answer for answer in answers if isinstance(answer, Nack)]
        assert nack.reason == "invalid: reward holds NaN or infinity"
        world.deliver_down(actor.connection)
        notes = [note for note in world.notes if "NaN" in note]
        assert len(notes) == 1, round_
        assert notes[0].startswith("a: reward holds NaN or infinity")
    assert learner_of(world).refused_messages == 0
    assert actor.exit is None
    assert learner_of(world).ledger.total().dropped["invalid"] > 0


def test_restarts_are_counted_in_every_life_and_survive_the_learner(world: Simulation) -> None:
    first, second = running(world, "a", "b")
    for process, crashes in ((first, 2), (second, 1)):
        for _ in range(crashes):
            process.session.sealed.count_restart()
    world.pass_time(2.0)
    world.exchange()
    assert learner_of(world).ledger.env_restarts == learner_of(world).ledger.total().env_restarts == 3
    world.checkpoint()
    world.crash_learner()
    world.start_learner()
    assert learner_of(world).ledger.env_restarts == 3
    first.session.sealed.count_restart()
    world.run_until_updates(1)
    assert learner_of(world).ledger.env_restarts == 4
    world.kill(first)
    world.start("a")  # a new life: the account of the old one is closed and folded
    world.run_until_updates(2)
    assert learner_of(world).ledger.env_restarts == learner_of(world).ledger.total().env_restarts == 4


def test_what_is_odd_is_noted_once_for_each_leaf(world: Simulation) -> None:
    (actor,) = running(world, "a")
    texts = [f"environment {n} observes observation.arm.{leaf} = {n}.5 at [0]" for n, leaf in ((0, 0), (7, 0), (0, 1))]
    said = [say(world, EnvFault(actor.incarnation, "noted", text)) for text in texts]
    assert said == [[f"a: {texts[0]}"], [], [f"a: {texts[2]}"]]


@pytest.mark.parametrize("array", ["observation", "observation.arm.0", "reward", "episode_return"])
def test_what_an_environment_gave_is_not_blamed_on_training(world: Simulation, array: str) -> None:
    running(world, "a")
    learner = learner_of(world)
    (peer,) = learner.peer_table.peers.values()
    (note,) = EnvFaults(learner.peer_table).refused(peer, array, "3e+38")
    assert isinstance(note, Note)
    assert note.text.endswith("look at what the environment returns")
    assert "diverged" not in note.text
