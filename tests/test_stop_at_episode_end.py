"""The batch rule of the single-process tutorial programs: a batch is full with its steps or with an episode's end."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from counting import ID
from graphs import categorical_graph
from simulated_actor import ENVS, Process
from simulation import Simulation, learner_of, running

from dppo.actor.envs.make import make_environments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.actor.session.states import State
from dppo.learner.config import CollectConfig, EnvConfig, LearnerConfig, RunConfig
from dppo.learner.run import Run
from dppo.learner.session.flow_control import CREDIT
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Settings
from dppo.learner.storage.run_directory import RunDirectory
from dppo.protocol.codec import decode_from_learner, encode
from dppo.protocol.messages import EnvSettings, Policy

FIRST_ROWS, LATER_ROWS = 5, 9  # of the simulated actors' episodes


@pytest.fixture
def world() -> Iterator[Simulation]:
    with Simulation(batch_steps=1000, stop_at_episode_end=True) as made:
        yield made


def rows_of(process: Process) -> list[int]:
    return [-(-len(numbers) // ENVS) for numbers in process.shipped]  # one row of five is a reset of the second one


def test_the_rule_is_off_by_default_and_says_nothing_of_episodes() -> None:
    settings = Settings("run", 1, EnvSettings(ID), 1, 8, 0, 1, "keep", 1.0, 1.0)
    assert not settings.stop_at_episode_end
    assert not CollectConfig().stop_at_episode_end
    with Simulation(batch_steps=1000) as world:
        (actor,) = running(world, "a")
        assert not actor.session.task.cut_at_episode_end
        world.step(actor, FIRST_ROWS)
        world.exchange()
        assert actor.shipped == []  # a segment has 125 rows
        assert learner_of(world).cycle.phase is Phase.COLLECTING


def test_a_policy_without_the_word_means_no_cut_at_episode_ends() -> None:
    told = decode_from_learner(encode(Policy(1, 1, bytes(16), 5, True)), has_blob=True)
    assert isinstance(told, Policy)
    assert told.cut_at_episode_end
    assert not Policy(1, 1, bytes(16), 5).cut_at_episode_end


def test_an_actor_cuts_its_segment_where_an_episode_ends_and_that_makes_the_batch_full(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, FIRST_ROWS - 1)
    world.exchange()
    assert actor.shipped == []
    world.step(actor)
    assert rows_of(actor) == [FIRST_ROWS]
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert learner_of(world).cycle.batch.rollouts[0].segment.ends_episode
    assert learner_of(world).cycle.batch.steps < learner_of(world).settings.batch_steps


def test_enough_steps_fill_the_batch_without_any_end() -> None:
    with Simulation(batch_steps=6, stop_at_episode_end=True) as world:
        (actor,) = running(world, "a")
        world.step(actor, FIRST_ROWS - 1)
        world.exchange()
        assert learner_of(world).cycle.phase is Phase.UPDATING
        assert not any(received.segment.ends_episode for received in learner_of(world).cycle.batch.rollouts)


def test_the_others_ship_what_they_have_when_one_episode_ends(world: Simulation) -> None:
    first, second = running(world, "a", "b")
    world.step(second, 3)
    world.step(first, FIRST_ROWS)
    world.exchange()
    assert rows_of(second) == [3]
    assert learner_of(world).cycle.phase is Phase.UPDATING
    assert len(learner_of(world).cycle.batch.rollouts) == 2
    world.train()
    world.exchange()
    world.step(second, FIRST_ROWS - 3)  # its episode went on across the stop
    assert rows_of(second) == [3, FIRST_ROWS - 3]


def test_without_credit_an_actor_waits_at_the_end_of_its_episode(world: Simulation) -> None:
    (actor,) = running(world, "a")
    world.step(actor, 1000)  # nothing reaches the learner
    assert len(actor.shipped) == CREDIT
    assert not actor.driver.may_step
    assert actor.driver._collector is not None
    assert actor.driver._collector.rows == LATER_ROWS
    world.exchange()
    assert learner_of(world).ledger.total().pending > 0


def test_the_books_balance_through_crashes_restarts_and_losses(world: Simulation) -> None:
    victim, _ = running(world, "a", "b")
    world.run_until_updates(5)
    world.check()
    world.checkpoint()
    world.kill(victim)
    world.start("a")
    world.run_until_updates(5)
    world.crash_learner()
    world.calm(3)
    world.heal(["a", "b"])
    world.run_until_updates(5)
    world.check()
    assert all(process.session.state in (State.RUNNING, State.WAITING) for process in world.living)
    world.end()


@pytest.mark.parametrize("vectorization", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_the_collector_knows_whether_its_newest_row_ended_an_episode(vectorization: str) -> None:
    environments = make_environments(EnvSettings(ID, vectorization=vectorization), 2)
    collector = Collector(environments, seed=3, first_slot=0, life=0)
    assert not collector.ended_episode
    collector.load(PolicyRunner(categorical_graph(np.zeros((4, 3)), version=1)))
    ends = 0
    for _ in range(12):
        collector.step()
        said = collector.ended_episode
        segment = collector.cut()
        assert segment is None or segment.ends_episode == said
        assert not collector.ended_episode  # nothing is open
        ends += said
    environments.close()
    assert 0 < ends < 12


def test_the_setting_reaches_the_session(tmp_path: Path) -> None:
    config = LearnerConfig(
        env=EnvConfig(id=ID), collect=CollectConfig(stop_at_episode_end=True), run=RunConfig(directory=str(tmp_path))
    )
    with RunDirectory.open(tmp_path) as directory:
        run = Run(config, directory, 0.0)
        assert run.session().settings.stop_at_episode_end
