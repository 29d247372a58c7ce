"""Every wait has a culprit: who is waited for, since when, what is known of him; and nobody waits for ever."""

import re

from simulated_actor import Process
from simulated_settings import GRACE_SECONDS, LEASE_SECONDS
from simulation import Simulation, learner_of, running

from dppo.actor.session.states import State
from dppo.learner.session.phases import Phase
from dppo.learner.session.wait_report import FIRST_SECONDS
from dppo.protocol.process.wait_backoff import MAX_USUAL_SECONDS, WaitBackoff


def said(world: Simulation) -> list[str]:
    return [note for note in world.notes if note.startswith("waiting")]


def only_the_learners_clock(world: Simulation, seconds: float) -> None:
    for _ in range(round(seconds / 0.1)):
        world.now += 0.1
        world.tick_learner()


def fill_the_batch_alone(world: Simulation, process: Process) -> None:
    """The others are told to stop and do not read it."""
    while learner_of(world).cycle.phase is Phase.COLLECTING:
        world.step(process, 3)
        for _ in range(2):
            for connection in world.connections.values():
                if connection.incarnation == process.incarnation:
                    world.deliver_up(connection)
                    world.deliver_down(connection)


def test_a_wait_is_spoken_of_after_the_first_seconds_and_then_at_doubling_intervals() -> None:
    patience = WaitBackoff(3.0)
    spoken = [now for now in range(100) if patience.look("someone", float(now)) is not None]
    assert spoken == [3, 6, 12, 24, 48, 96]


def test_another_wait_begins_anew_and_none_is_not_spoken_of() -> None:
    patience = WaitBackoff(3.0)
    assert [patience.look(None, now) for now in (0.0, 100.0)] == [None, None]
    patience.look("a", 100.0)
    assert patience.look("b", 104.0) is None
    assert patience.look("b", 107.5) == 3.5


def test_waits_of_a_usual_length_are_not_spoken_of_and_outages_do_not_become_usual() -> None:
    patience = WaitBackoff(3.0)
    patience.look("a", 0.0)
    patience.was_usual(10.0)
    patience.look(None, 10.0)
    assert [patience.look("a", now) for now in (10.0, 29.9)] == [None, None]
    assert patience.look("a", 30.0) == 20.0
    patience.was_usual(10_000.0)
    assert patience.usual_seconds == MAX_USUAL_SECONDS


def test_a_learner_without_actors_says_that_it_waits_for_the_first(world: Simulation) -> None:
    only_the_learners_clock(world, 4 * FIRST_SECONDS)
    assert said(world) == ["waiting 3 s for the first actor to join", "waiting 6 s for the first actor to join"]


def test_a_learner_whose_actors_have_all_gone_says_so(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.kill(actor)
    only_the_learners_clock(world, LEASE_SECONDS + 2 * FIRST_SECONDS)
    assert said(world)[-1].endswith("for actors to join: there is none")


def test_an_actor_that_delivers_nothing_is_named_with_when_it_was_heard_and_what_it_does(world: Simulation) -> None:
    running(world, "a")
    (peer,) = learner_of(world).peer_table.peers.values()
    peer.doing = "in env.step"
    only_the_learners_clock(world, FIRST_SECONDS + 0.3)
    (line,) = said(world)
    assert re.fullmatch(r"waiting 3 s for a \(last heard 3\.\d s ago, in env\.step\) to deliver", line)


def test_who_does_not_stop_is_named_before_the_grace_is_over_and_when_it_is() -> None:
    with Simulation(stop_grace_seconds=3.0) as world:
        fast, _ = running(world, "fast", "slow")
        world.run_until_updates(1)  # both have answered STOP in time before
        fill_the_batch_alone(world, fast)
        only_the_learners_clock(world, 3.3)
        assert [line.partition(" (")[0] for line in said(world)] == ["waiting 1 s for slow", "waiting 2 s for slow"]
        assert all("last heard" in line and line.endswith("to stop") for line in said(world))
        assert any(note.startswith("slow did not stop within 3 s (last heard") for note in world.notes)
        assert learner_of(world).cycle.phase is Phase.UPDATING


def test_a_hung_actor_costs_one_grace_and_is_waited_for_again_once_it_is_back(world: Simulation) -> None:
    good, hung = running(world, "good", "hung")
    stalled = []
    for _ in range(3):
        began = world.now
        goal = world.updates + 1
        while world.updates < goal:
            fill_the_batch_alone(world, good)
            world.train()
            world.now += 0.01
            world.tick_learner()
        stalled.append(world.now - began > GRACE_SECONDS)
    assert stalled == [True, False, False]
    world.exchange()
    assert hung.session.state is State.RUNNING
    assert all(not peer.stopped for peer in learner_of(world).peer_table.peers.values())
    world.run_until_updates(2)
    assert learner_of(world).ledger.accounts[hung.incarnation].trained > 0


def test_many_late_actors_are_named_in_part(world: Simulation) -> None:
    running(world, *"abcde")
    only_the_learners_clock(world, FIRST_SECONDS + 0.3)
    (line,) = said(world)
    assert line.count("last heard") == 3
    assert line.endswith("and 2 more to deliver")


def test_an_actor_says_that_no_learner_answers(world: Simulation) -> None:
    world.crash_learner()
    actor = world.start("a")
    for _ in range(65):
        world.pass_time(0.2)
    assert [note for note in actor.notes if "waiting" in note] == [
        f"waiting {seconds} s for the learner at tcp://learner:5555: no answer yet" for seconds in (3, 6, 12)
    ]


def test_an_actor_says_once_that_its_learner_is_gone_and_once_that_it_is_back(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.crash_learner()
    for _ in range(100):
        world.pass_time(0.2)
    assert actor.notes.count("the learner at tcp://learner:5555 is gone; waiting for it") == 1
    assert len(actor.notes) < 8
    world.start_learner()
    world.run_until_updates(1)
    assert actor.notes.count("the learner at tcp://learner:5555 is back") == 1


def test_an_actor_says_that_it_has_no_policy_unless_updates_usually_take_that_long(world: Simulation) -> None:
    (actor,) = running(world, "a")

    def update(seconds: float) -> int:
        before = len([note for note in actor.notes if "no policy" in note])
        while learner_of(world).cycle.phase is not Phase.UPDATING:
            world.step(actor, 3)
            world.exchange()
        for _ in range(round(seconds / 0.2)):
            world.pass_time(0.2)
            world.exchange()
        world.train()
        world.exchange()
        return len([note for note in actor.notes if "no policy" in note]) - before

    assert update(7.0) == 1
    assert update(7.0) == 0
    assert update(20.0) == 1
