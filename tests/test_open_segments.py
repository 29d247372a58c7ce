"""Steps in segments that are not full yet: shown to people, counted in no account."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from simulated_actor import ENVS, Process
from simulated_settings import SETTINGS
from simulation import Simulation, learner_of, running

from dppo.learner.config import CollectConfig, EnvConfig, LearnerConfig, PpoConfig
from dppo.learner.run import Run
from dppo.learner.run_status import RunStatus
from dppo.learner.session.flow_control import CREDIT
from dppo.learner.status_reporter import SPEED_SECONDS, Reporter
from dppo.learner.telemetry.status import Status
from dppo.protocol.codec import encode
from dppo.protocol.messages import Ping, Tally, TimeShares

HEARTBEAT_SECONDS = 1.0


class Watched:
    """A simulated run and its reporter."""

    def __init__(self, world: Simulation) -> None:
        self.world = world
        config = LearnerConfig(
            env=EnvConfig("Fake-v0"),
            collect=CollectConfig(batch_steps=SETTINGS.batch_steps, envs_per_actor=ENVS),
            ppo=PpoConfig(minibatch_steps=SETTINGS.batch_steps),
        )
        published = RunStatus(0, 0, 0, None, None, 0, 0, 0, None, None, {})
        stub = SimpleNamespace(
            config=config,
            directory=SimpleNamespace(path=Path("runs/x")),
            launched_at=0.0,
            published=published,
        )
        self.reporter = Reporter(cast(Run, stub))

    def status(self) -> Status:
        return self.reporter.status(learner_of(self.world), self.world.now)

    def ping(self) -> Status:
        """A heartbeat passes and what is on its way arrives."""
        self.world.pass_time(HEARTBEAT_SECONDS)
        self.world.exchange()
        return self.status()


@pytest.fixture
def watched(world: Simulation) -> Watched:
    world.cuts_by_steps = True
    return Watched(world)


def step_to_one_before_full(world: Simulation, actor: Process) -> int:
    """Returns the steps in the open segment."""
    world.step(actor, actor.session.task.segment_steps - 1)
    assert not actor.shipped
    return actor.driver._open_steps()


def test_steps_of_open_segments_are_shown_and_are_in_no_account(watched: Watched) -> None:
    world = watched.world
    actors = running(world, "a", "b")
    assert watched.status().collected_steps == 0
    open_steps = [step_to_one_before_full(world, actor) for actor in actors]
    status = watched.ping()
    assert [row.open_steps for row in status.actors] == open_steps
    assert (status.collected_steps, status.batch_steps) == (sum(open_steps), SETTINGS.batch_steps)
    assert sum(open_steps) > 0
    assert status.ledger.sealed == status.ledger.pending == status.ledger.in_flight == 0
    world.check()


def test_no_step_is_shown_twice_once_its_segment_has_arrived(watched: Watched) -> None:
    world = watched.world
    actor, _ = running(world, "a", "b")
    step_to_one_before_full(world, actor)
    watched.ping()
    for _ in range(10):
        world.step(actor)
        if actor.shipped:
            break
    world.exchange()
    status = watched.status()
    assert status.ledger.pending == status.collected_steps == len(actor.shipped[0])


def test_credit_staleness_and_what_waits_for_the_update_are_in_the_status(watched: Watched) -> None:
    world = watched.world
    actor, _ = running(world, "a", "b")
    row = watched.status().actors[0]
    assert (row.staleness, row.credit) == (0, CREDIT)
    assert (watched.status().queue_rollouts, watched.status().queue_bytes) == (0, 0)
    while not watched.status().queue_rollouts:
        world.step(actor)
        world.exchange()
    status = watched.status()
    assert status.queue_rollouts == len(actor.shipped)
    assert status.queue_bytes > 0
    learner = learner_of(world)
    peer = next(peer for peer in learner.peer_table.peers.values() if peer.actor == "a")
    peer.have_version -= 1
    peer.credit_withheld = True
    row = next(row for row in watched.status().actors if row.name == "a")
    assert (row.staleness, row.credit) == (1, 0)


@pytest.mark.parametrize("on_stop", ["keep", "drop"])
def test_after_a_stop_nothing_is_open(on_stop: str) -> None:
    with Simulation(on_stop=on_stop) as world:
        watched = Watched(world)
        actor, other = running(world, "a", "b")
        world.step(actor, 1)
        assert watched.ping().actors[0].open_steps > 0
        while learner_of(world).cycle.phase.name == "COLLECTING":
            world.step(other, 1)
            world.exchange()
        assert learner_of(world).cycle.phase.name == "UPDATING"
        assert [row.open_steps for row in watched.status().actors] == [0, 0]
        world.train()
        world.exchange()
        assert [row.open_steps for row in watched.status().actors] == [0, 0]


def test_no_actor_claims_more_than_fits_into_a_segment(watched: Watched) -> None:
    world = watched.world
    (actor,) = running(world, "a")
    assert actor.connection is not None
    world.hand_to_learner(actor.connection, encode(Ping(1.0, Tally(), TimeShares(), 2**53)), None)
    assert 0 < watched.status().collected_steps <= 4 * ENVS * actor.session.task.segment_steps


def test_the_speed_is_that_of_slow_environments_long_before_a_segment_is_full() -> None:
    with Simulation(batch_steps=4000) as world:
        watched = Watched(world)
        actors = running(world, "a", "b")
        watched.status()
        speeds = []
        for _ in range(20):
            for actor in actors:
                world.step(actor, 1)
            speeds.append(watched.ping().steps_per_second)
        assert not any(actor.shipped for actor in actors)
        assert speeds == pytest.approx([2 * ENVS] * len(speeds), rel=0.1)
        for _ in range(int(SPEED_SECONDS) + 2):
            status = watched.ping()
        assert status.steps_per_second == 0
