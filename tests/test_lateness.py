"""One slow, silent or greedy actor does not hold up the others, and is told what would let it contribute."""

from collections.abc import Callable

import pytest
from conversations import deliver, hear
from shards import fast_first
from simulated_actor import Process
from simulated_settings import GRACE_SECONDS
from simulation import Simulation, learner_of, running

from dppo.learner.collect_checks import RuleName
from dppo.learner.session.phases import Phase
from dppo.learner.session.punctuality import MAX_REQUIRED, WASTED_SHARE, Punctuality
from dppo.learner.session.records import PeerKey
from dppo.learner.session.shares import PROMISED_POLICIES
from dppo.protocol.codec import decode_from_learner
from dppo.protocol.messages import Have, Policy

STEP_SECONDS = 5.0  # of the slow one's environments: longer than the grace
LOOK_SECONDS = 0.05


def turn(world: Simulation, actors: list[Process]) -> None:
    """A moment in which these act and everything between them and the learner arrives."""
    world.now += LOOK_SECONDS
    for actor in actors:
        world.tick(actor)
        world.step(actor, 3)
        deliver(world, actor)
        hear(world, actor)
    world.tick_learner()
    world.train()


def updates_in(world: Simulation, seconds: float, act: Callable[[], list[Process]]) -> int:
    before, until = world.updates, world.now + seconds
    while world.now < until:
        turn(world, act())
    return world.updates - before


def slowly(world: Simulation, slow: Process, fast: list[Process]) -> Callable[[], list[Process]]:
    """Who acts now: the fast ones always, the slow one once in STEP_SECONDS, for one step."""
    next_at = [world.now + STEP_SECONDS]

    def act() -> list[Process]:
        if world.now >= next_at[0]:
            next_at[0] = world.now + STEP_SECONDS
            world.tick(slow)
            for _ in range(4):  # all that came meanwhile, and the policy that it asks for
                deliver(world, slow)
                hear(world, slow)
            world.step(slow, 1)
            deliver(world, slow)
        return fast

    return act


@pytest.mark.slow
def test_an_honest_actor_slower_than_the_grace_costs_the_others_less_than_a_tenth() -> None:
    with Simulation(stop_grace_seconds=3.0, lease_seconds=10.0) as world:
        fast = running(world, "fast-1", "fast-2")
        calm = updates_in(world, 60.0, lambda: fast)
        slow = world.start("slow")
        world.exchange()
        act = slowly(world, slow, fast)
        updates_in(world, 20.0, act)
        with_it = updates_in(world, 60.0, act)
        assert with_it >= 0.9 * calm
        (advice,) = [note for note in world.notes if "cannot contribute" in note]
        assert "slow" in advice
        assert "collect.stop_grace_seconds=3. With " in advice
        assert sum("the learner waits no more for it" in note for note in world.notes) == 1
        world.check()


@pytest.mark.slow
def test_the_grace_that_is_advised_lets_it_contribute() -> None:
    with Simulation(stop_grace_seconds=8.0, lease_seconds=20.0) as world:
        fast = running(world, "fast")
        slow = world.start("slow")
        world.exchange()
        updates_in(world, 120.0, slowly(world, slow, fast))
        assert learner_of(world).ledger.accounts[slow.incarnation].trained > 0
        assert not [note for note in world.notes if "cannot contribute" in note]


def test_an_actor_that_is_fast_again_is_waited_for_again() -> None:
    with Simulation(stop_grace_seconds=1.0, lease_seconds=10.0) as world:
        fast, slow = running(world, "fast", "slow")
        updates_in(world, 30.0, slowly(world, slow, [fast]))
        assert any("slow was late 2 times" in note for note in world.notes)
        updates_in(world, 5.0, lambda: [fast, slow])
        assert any("slow stops in time again" in note for note in world.notes)
        learner = learner_of(world)
        while learner.cycle.phase is not Phase.COLLECTING:
            turn(world, [fast, slow])
        while learner.cycle.phase is not Phase.STOPPING:  # the next STOP is waited for
            world.step(fast, 1)
            world.step(slow, 1)
            deliver(world, fast)
            deliver(world, slow)
            if learner.cycle.phase is Phase.COLLECTING:
                hear(world, fast)
                hear(world, slow)
            world.train()
        hear(world, fast)
        deliver(world, fast)
        assert learner.cycle.phase is Phase.STOPPING


def never_stops(world: Simulation, name: str) -> Process:
    """An actor that joins, says HAVE and PING, and does nothing else."""
    actor = world.start(name)
    world.exchange()
    return actor


def hangs_up(world: Simulation, actor: Process) -> None:
    """The actor's connection ends, and the learner hears of it."""
    assert actor.connection is not None
    connection = actor.connection.id
    world.kill(actor)
    world._do(learner_of(world).unreachable(connection, world.now))


def idle(world: Simulation, actor: Process) -> None:
    """Say HAVE at every policy and PING; hear nothing else."""
    connection = actor.connection
    assert connection is not None
    while connection.down:
        header, blob = connection.down.popleft()
        message = decode_from_learner(header, blob is not None)
        if isinstance(message, Policy):
            learner = learner_of(world)
            world._do(learner.receive(connection.key, Have(message.term, message.version, 0.0), None, world.now))
    peer = learner_of(world).peer_table.peers.get(connection.key)
    if peer is not None:
        peer.heard = world.now


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["minimum", "even_shares"])
def test_actors_that_never_answer_stop_cost_the_others_a_fifth_at_most(rule: RuleName) -> None:
    with Simulation(stop_grace_seconds=3.0, rule=rule) as world:
        fast = running(world, "fast-1", "fast-2")
        calm = updates_in(world, 40.0, lambda: fast)
        hostile = [never_stops(world, f"lazy-{number}") for number in range(4)]

        def act() -> list[Process]:
            for actor in hostile:
                idle(world, actor)
            return fast

        assert updates_in(world, 40.0, act) >= 0.8 * calm
        for actor in hostile:
            world.kill(actor)
        updates_in(world, 1.0, lambda: fast)
        assert updates_in(world, 40.0, lambda: fast) >= 0.98 * calm


@pytest.mark.parametrize(("rule", "seconds"), fast_first([("minimum", 1.4), ("even_shares", 2.5)], 0))
def test_new_names_that_leave_before_they_are_given_up_cost_a_fifth_at_most(rule: RuleName, seconds: float) -> None:
    with Simulation(stop_grace_seconds=3.0, rule=rule) as world:
        fast = running(world, "fast-1", "fast-2")
        calm = updates_in(world, 20.0, lambda: fast)
        hostile = [never_stops(world, "name-0")]
        leaves_at = world.now + seconds

        def act() -> list[Process]:
            nonlocal leaves_at
            if world.now >= leaves_at:
                leaves_at = world.now + seconds
                hangs_up(world, hostile[-1])
                hostile.append(never_stops(world, f"name-{len(hostile)}"))
            idle(world, hostile[-1])
            return fast

        assert updates_in(world, 40.0, act) >= 0.8 * calm * 2


@pytest.mark.slow
@pytest.mark.parametrize("answers", [1, 3])
def test_new_names_that_answer_a_few_times_and_then_never_cost_the_others_a_fifth_at_most(answers: int) -> None:
    with Simulation(stop_grace_seconds=3.0) as world:
        fast = running(world, "fast-1", "fast-2")
        calm = updates_in(world, 20.0, lambda: fast)
        number, began, updates = 0, world.now, world.updates
        hostile = never_stops(world, "name-0")

        def act() -> list[Process]:
            nonlocal number, began, updates, hostile
            if world.updates < updates + answers + 1:
                began = world.now
                return [*fast, hostile]
            idle(world, hostile)
            if world.now > began + 3.0:
                hangs_up(world, hostile)
                number, began, updates = number + 1, world.now, world.updates
                hostile = never_stops(world, f"name-{number}")
            return fast

        updates_in(world, 40.0, act)
        assert updates_in(world, 60.0, act) >= 0.8 * calm * 3


def test_new_names_that_never_answer_cost_what_is_allowed_for_all_of_them_together() -> None:
    punctuality = Punctuality(3.0, 1.5)
    now = wasted = 0.0
    for number in range(1000):
        allowed = punctuality.allowed_seconds(f"name-{number}", now)
        now += allowed + 0.06  # in vain, then an update
        wasted += allowed
        punctuality.wasted(allowed, now)
    assert wasted <= 1.5 + WASTED_SHARE * now + 1e-6


def test_whoever_alternates_between_quick_and_late_is_trusted_ever_later() -> None:
    punctuality = Punctuality(3.0, 1.5)
    waited = 0
    for _ in range(20_000):
        if punctuality.record("a").is_kept:
            waited += 1
            punctuality.late("a")
        else:
            punctuality.in_time("a", 0.1)
    assert waited < 20_000 / MAX_REQUIRED + 20


def test_even_shares_give_the_share_of_an_actor_that_never_delivers_to_the_others() -> None:
    with Simulation(batch_steps=24, rule="even_shares", stop_grace_seconds=3.0) as world:
        good, _ = running(world, "good", "idle")
        lazy = next(process for process in world.living if process.name == "idle")

        def act() -> list[Process]:
            idle(world, lazy)
            return [good]

        assert updates_in(world, 60.0, act) > 100
        (first, second) = [note for note in world.notes if "of its" in note]
        assert first.startswith("idle has delivered 0 of its 6 rows, 4 s after the others")
        assert first.endswith("they make up for it")
        assert "It is not waited for until it keeps up" in second


def test_even_shares_wait_for_a_slow_actor_that_delivers() -> None:
    with Simulation(batch_steps=24, rule="even_shares", stop_grace_seconds=3.0) as world:
        good, slow = running(world, "good", "slow")
        next_at = [0.0]

        def act() -> list[Process]:
            hear(world, slow)
            if world.now >= next_at[0]:  # a step takes 1 s, its share 6 s, a rollout two of them
                next_at[0] = world.now + 1.0
                world.step(slow, 1)
            deliver(world, slow)
            return [good]

        updates_in(world, 60.0, act)
        assert not [note for note in world.notes if "of its" in note]
        accounts = learner_of(world).ledger.accounts
        assert accounts[slow.incarnation].trained == pytest.approx(accounts[good.incarnation].trained, rel=0.2)


def test_announcing_many_environments_shrinks_nobodys_segments() -> None:
    with Simulation(batch_steps=4096) as world:
        (good,) = running(world, "good")
        alone = learner_of(world).cycle.segment_steps
        boaster = world.start("boaster")
        peer_id = boaster.connection.key if boaster.connection else PeerKey(b"")
        world.exchange()
        learner = learner_of(world)
        slots = learner.peer_table.peers[peer_id].slots
        learner.peer_table.peers[peer_id].slots = type(slots)(slots.first, 65_536, slots.life)
        assert learner.cycle.segment_steps >= alone // 2, "as one ordinary actor, for a while"
        for _ in range(PROMISED_POLICIES + 1):
            goal = world.updates + 1
            while world.updates < goal:
                idle(world, boaster)
                world.step(good, 500)
                deliver(world, good)
                hear(world, good)
                world.now += GRACE_SECONDS / 10
                world.tick_learner()
                world.train()
        assert learner.cycle.segment_steps == alone, "it has delivered nothing"


def test_a_silent_actor_is_named_with_what_it_does_and_the_setting(world: Simulation) -> None:
    running(world, "a")
    (peer,) = learner_of(world).peer_table.peers.values()
    peer.doing = "in env.step"
    world.now += 13.0
    world.tick_learner()
    (line,) = [note for note in world.notes if "has been silent" in note]
    assert "env.step" in line
    assert "collect.lease_seconds=5" in line
