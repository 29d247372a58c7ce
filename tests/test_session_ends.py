"""The end of a run, of an actor and of a learner, also by SIGKILL."""

from conversations import hear, only_pings_arrive, up
from simulated_actor import ENVS, Process
from simulated_settings import GRACE_SECONDS, LEASE_SECONDS, ROUND_SECONDS
from simulation import Simulation, learner_of, running

from dppo.actor.session.session import DRAIN_SECONDS
from dppo.actor.session.states import State
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import PeerKey
from dppo.local.exit_diagnosis import was_stopped
from dppo.protocol.messages import (
    Bye,
    Policy,
    Rollout,
    Tally,
)
from dppo.protocol.snapshot import graph_digest

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


def test_actors_that_leave_because_the_run_is_over_are_no_news(world: Simulation) -> None:
    running(world, "a", "b")
    world.end()
    assert learner_of(world).cycle.phase is Phase.STOPPED
    assert [note for note in world.notes if " left: " in note] == []


def test_an_actor_that_leaves_for_another_reason_is_news_also_while_the_run_ends(world: Simulation) -> None:
    actor, _ = running(world, "a", "b")
    world.finish()
    assert actor.connection is not None
    peer = learner_of(world).peer_table.peers[actor.connection.key]
    bye = Bye("stopped", Tally(0, 0))
    world._do(learner_of(world).receive(actor.connection.key, bye, None, world.now))
    assert peer.actor not in [other.actor for other in learner_of(world).peer_table.peers.values()]
    assert [note for note in world.notes if " left: " in note] == ["a left: stopped"]


def test_an_actor_that_does_not_say_bye_holds_the_end_up_for_the_grace_only(world: Simulation) -> None:
    _, hung = running(world, "a", "b")
    world.cut(hung, lose_up=True, noticed=False)
    world.finish()
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.DRAINING
    world.now += GRACE_SECONDS
    world.tick_learner()
    assert learner_of(world).cycle.phase is Phase.STOPPED


def test_an_actor_that_reconnects_while_the_run_ends_is_heard_out(world: Simulation) -> None:
    patient, unlucky = running(world, "a", "b")
    world.step(unlucky, 2)
    world.cut(unlucky, lose_up=True, noticed=True)
    world.finish()
    assert learner_of(world).cycle.phase is Phase.DRAINING
    world.attach(unlucky)
    unlucky.driver.connected()
    world._flush(unlucky)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.STOPPED
    learner_of(world).close_accounts()
    world.check_end([patient, unlucky])


def test_the_run_is_not_over_before_the_bye_behind_an_unanswerable_message_is_heard(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 6)
    world.finish()
    hear(world, actor)
    assert not actor.alive
    connection = world.connections[PeerKey(b"peer-0")]
    assert len(connection.up) == 3
    world.deliver_up(connection, 1)
    assert world.notes[-1] == "a is gone (connection lost)"
    assert learner_of(world).cycle.phase is Phase.DRAINING
    world.exchange()
    assert world.notes[-1] == "a is gone (connection lost)", "an answer to the learner's own BYE is no news"
    assert learner_of(world).cycle.phase is Phase.STOPPED
    learner_of(world).close_accounts()
    world.check_end([actor])
    assert learner_of(world).ledger.total().dropped["actor_lost"] == 0


def test_of_a_lost_connection_nothing_more_is_expected_after_the_lease(world: Simulation) -> None:
    actor, _ = running(world, "a", "b")
    assert actor.connection is not None
    peer = actor.connection.key
    world.kill(actor)
    world._do(learner_of(world).unreachable(peer.connection, world.now))
    assert learner_of(world).peer_table.heard_of(peer) is not None
    world.now += LEASE_SECONDS + 0.1
    world.tick_learner()
    assert learner_of(world).peer_table.heard_of(peer) is None
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
    assert (actor.exit.code, actor.exit.reason) == (0, "stopped, everything delivered")
    assert was_stopped(f"a ends: {actor.exit.reason}\na line of multiprocessing's")
    assert not was_stopped("a ends: stopped by a hook")
    assert learner_of(world).peer_table.peers == {}
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
    assert was_stopped(f"a ends: {actor.exit.reason}")


def test_sigterm_before_the_learner_was_ever_there_ends_at_once(world: Simulation) -> None:
    world.crash_learner()
    actor = world.start("a")
    world.terminate(actor)
    world.pass_time(ROUND_SECONDS)
    assert not actor.alive


def test_nothing_wakes_an_actor_that_has_ended(world: Simulation) -> None:
    (actor,) = running(world, "a")
    actor.driver.handle(Bye("over"), None)
    said = list(actor.driver.outgoing)
    actor.driver.handle(Policy(1, 9, graph_digest(b"1 9"), 5), b"1 9")
    actor.driver.handle(Bye("over"), None)
    actor.driver.tick()
    assert actor.session.state is State.OVER
    assert actor.driver.outgoing == said
    assert not actor.driver.may_step


# Crashes


def crash_in_mid_batch(world: Simulation, actor: Process) -> int:
    """The learner is killed after accepting what its only actor had; returns those steps."""
    world.step(actor, 10)
    world.exchange()
    accepted = learner_of(world).ledger.total().pending
    assert accepted == actor.sealed_steps > 0
    world.crash_learner()
    return accepted


def test_what_a_dead_learner_had_accepted_is_booked_from_its_journal_also_if_no_actor_comes_back(
    world: Simulation,
) -> None:
    (actor,) = running(world, "a")
    accepted = crash_in_mid_batch(world, actor)
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
    version = learner_of(world).cycle.snapshot.version
    world.crash_learner()
    world.start_learner()
    assert learner_of(world).ledger.total().dropped["learner_crash"] >= lost > 0
    world.run_until_updates(1)
    assert learner_of(world).cycle.snapshot.version > version
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
    accepted = crash_in_mid_batch(world, actor)
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
    world.pass_time(0.1)  # it proves that it is alive
    world.exchange()
    assert learner_of(world).ledger.total().dropped["actor_lost"] == victim.sealed_steps > 0
    world.run_until_updates(2)
    world.end()
