"""A learner that goes while its run goes on, and processes that come and go under the same names."""

import pytest
from simulated_settings import LEASE_SECONDS
from simulation import Simulation, learner_of, running

from dppo.actor.session.states import State
from dppo.learner.session.peer_table import ABSENT_SECONDS
from dppo.protocol.ledger import MAX_AWAY, Ledger
from dppo.protocol.messages import Bye, Stop


def test_a_learner_that_leaves_stops_its_actors_and_says_no_bye(world: Simulation) -> None:
    actors = running(world, "a", "b")
    for actor in actors:
        world.step(actor, 7)
    learner = learner_of(world)
    world.leave_learner()
    assert [type(send.message) for send in world.sent if isinstance(send.message, (Stop, Bye))] == [Stop, Stop]
    assert all(actor.alive and len(actor.session.sealed) == 0 for actor in actors)
    total = learner.ledger.total()
    assert total.sealed == sum(actor.sealed_steps for actor in actors) == total.dropped["shutdown"] > 0
    assert total.in_flight == total.pending == 0


def test_its_actors_keep_their_environments_and_work_for_the_next_learner_however_late(world: Simulation) -> None:
    actors = running(world, "a", "b")
    world.run_until_updates(1)
    environments = [actor.driver._collector for actor in actors]
    world.leave_learner()
    for _ in range(20):
        world.pass_time(3600.0)
    world.start_learner()
    world.run_until_updates(2)
    assert all(actor.alive for actor in actors)
    assert [actor.driver._collector for actor in actors] == environments
    assert all(learner_of(world).ledger.accounts[actor.incarnation].trained > 0 for actor in actors)
    world.end()


def test_a_learner_leaves_within_the_grace_though_an_actor_hangs(world: Simulation) -> None:
    good, hung = running(world, "good", "hung")
    world.step(hung, 3)
    connection = hung.connection
    assert connection is not None
    connection.down.clear()
    connection.up.clear()
    hung.connection = None
    world.leave_learner()
    assert good.alive
    world.start_learner()
    world.run_until_updates(1)
    world.end()


@pytest.mark.parametrize("updates", [0, 1])
def test_a_learner_may_leave_before_its_first_update_and_while_waiting_for_answers(
    world: Simulation, updates: int
) -> None:
    running(world, "a")
    if updates:
        world.run_until_updates(updates)
    while learner_of(world).cycle.phase.name == "COLLECTING":
        for process in world.living:
            world.step(process, 1)
        for connection in world.connections.values():
            world.deliver_up(connection)
    world.leave_learner()
    world.start_learner()
    world.run_until_updates(1)
    world.end()


def test_a_hello_of_a_dead_process_that_comes_after_its_replacements_does_not_end_the_replacement(
    world: Simulation,
) -> None:
    older = world.start("a")
    world.kill(older, lose_up=False)  # its HELLO is on the way
    newer = world.start("a")
    assert newer.connection is not None
    world.deliver_up(newer.connection)
    world.run_until_updates(1)  # the HELLO of the older one arrives in here
    assert newer.alive
    assert world.joined(newer)
    assert older.incarnation not in learner_of(world).ledger.accounts


def test_a_delayed_hello_does_not_take_the_name_either_while_the_replacement_is_reconnecting(world: Simulation) -> None:
    older = world.start("a")
    world.kill(older, lose_up=False)
    newer = world.start("a")
    assert newer.connection is not None
    world.deliver_up(newer.connection)
    world.cut(newer, lose_up=True, noticed=True)
    world.tick_learner()
    world.run_until_updates(1)
    assert newer.alive
    assert world.joined(newer)


def test_a_replacement_joins_at_once_though_nobody_has_noticed_that_the_old_process_is_gone(world: Simulation) -> None:
    (older,) = running(world, "a")
    world.kill(older, noticed=False)
    newer = world.start("a")
    began = world.now
    world.exchange()
    world.pass_time(0.1)
    world.exchange()
    world.run_until_updates(1)
    assert world.joined(newer)
    assert world.now - began < LEASE_SECONDS
    assert not any("not yet" in note for note in newer.notes)


def test_a_dead_processs_hellos_never_take_the_name_however_often_and_late_they_arrive(world: Simulation) -> None:
    older = world.start("a")
    connection = older.connection
    world.kill(older, lose_up=False)
    newer = world.start("a")
    world.run_until_updates(1)
    assert connection is not None
    for _ in range(5):
        world.pass_time(2.0)
        for frames in list(connection.delivered):
            world.hand_to_learner(connection, *frames)
    world.run_until_updates(1)
    assert newer.alive
    assert world.joined(newer)


def test_of_two_living_processes_with_one_name_the_newer_has_it_and_the_older_is_told_why(world: Simulation) -> None:
    (older,) = running(world, "a")
    newer = world.start("a")
    for _ in range(20):
        world.calm()
    assert newer.alive
    assert world.joined(newer)
    assert older.exit is not None
    assert older.exit.code == 3
    assert "--name" in older.exit.reason


def test_what_a_process_that_is_gone_had_in_flight_is_written_off_after_a_while_and_counted_if_it_comes_back(
    world: Simulation,
) -> None:
    gone, stays = running(world, "gone", "stays")
    world.step(gone, 3)
    world.run_until_updates(1)
    world.step(gone, 9)
    world.now += 1.1
    world.tick(gone)
    assert gone.connection is not None
    for header, blob in list(gone.connection.up):
        if blob is None:  # the PING arrives, the rollouts do not
            world.hand_to_learner(gone.connection, header, blob)
    account = learner_of(world).ledger.accounts[gone.incarnation]
    assert account.in_flight > 0
    world.cut(gone, lose_up=True, noticed=True)
    for _ in range(round(ABSENT_SECONDS + LEASE_SECONDS) + 5):
        world.now += 1.0
        world.tick_learner()
        world.tick(stays)
        world.exchange()
    assert account.in_flight == 0
    assert account.dropped["actor_lost"] == account.missing > 0
    world.run_until_updates(2)
    assert account.missing == 0
    assert account.dropped["actor_lost"] == 0
    world.end()
    assert gone.session.state is State.OVER


def test_accounts_of_processes_that_are_away_are_bounded() -> None:
    ledger = Ledger()
    for number in range(MAX_AWAY + 10):
        incarnation = number.to_bytes(8, "big")
        account = ledger.open(incarnation, f"host-{number}")
        account.accept(1, 5, batch=1)
        account.sealed += 2
        ledger.train(1)
        ledger.write_off(incarnation)
    assert len(ledger.accounts) == MAX_AWAY
    total = ledger.total()
    assert (total.sealed, total.trained, total.in_flight) == (7 * (MAX_AWAY + 10), 5 * (MAX_AWAY + 10), 0)
    assert ledger.closed_incarnations == 10
