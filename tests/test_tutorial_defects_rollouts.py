"""Defects of the original tutorial's rollouts that are not copied: what each does, and what happens here instead.

The original's order of things is written down anew in a few lines, as functions whose text names the defect. Against
them stand simulations of many actors, and a real actor and learner without the wire between them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from simulated_actor import Process, numbers_of
from simulated_settings import GRACE_SECONDS
from simulation import Simulation, learner_of

from dppo.actor.envs.make import make_environments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.checks import RATIO_TOLERANCE
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.phases import Phase
from dppo.protocol.messages import EnvSettings
from dppo.protocol.rollout import Segment
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import resolve


def tutorial(preset: str, **flags: Any) -> TrainConfig:
    """A preset of the tutorial's programs, in one process; `env__id` is the setting env.id."""
    own = {name.replace("__", "."): value for name, value in flags.items()}
    return resolve(TrainConfig, flags={"actors": 0, **own}, preset=f"tutorial/{preset}", environ={}).config


# Stale rows


def drained(queued: list[int]) -> list[int]:
    """Defect: an update takes what is queued at one instant, and what comes later the next one, a policy later."""
    taken = list(queued)
    queued.clear()
    return taken


@pytest.fixture
def world() -> Iterator[Simulation]:
    with Simulation(batch_steps=24, segment_steps=6) as made:
        yield made


def numbers_in(batch: Sequence[Received]) -> list[int]:
    return [number for received in batch for number in numbers_of(received.segment)]


def full_batch_with_rows_on_their_way(world: Simulation) -> tuple[Process, Process, Process]:
    """The first actor has filled the batch; the second has a rollout on the wire, both others begun another."""
    first, second, third = (world.start(name) for name in "abc")
    world.exchange()
    world.train()
    world.exchange()
    world.step(first, 18)
    world.step(second, 8)
    world.step(third, 2)
    assert first.connection is not None
    world.deliver_up(first.connection)
    assert learner_of(world).cycle.phase is Phase.STOPPING
    return first, second, third


def test_rows_that_a_stop_cuts_are_trained_on_at_once_and_not_a_policy_later(world: Simulation) -> None:
    full_batch_with_rows_on_their_way(world)
    queue = numbers_in(learner_of(world).cycle.batch.rollouts)
    first_of_the_original = drained(queue)
    world.exchange()  # STOP reaches everyone, what they had reaches the learner
    ours = numbers_in(world.handed)
    assert {world.sampled[number] for number in ours} == {(world.term, world.version)}
    world.train()
    assert world.ever_trained == set(ours)
    queue += [number for number in ours if number not in first_of_the_original]
    second_of_the_original = drained(queue)
    assert len(second_of_the_original) > 10
    assert {world.sampled[number] for number in second_of_the_original} == {(world.term, world.version - 1)}  # stale
    world.run_until_updates(3)  # the simulation sees to it that no row is trained on under another policy, or twice
    world.check()


def test_rows_that_come_when_the_next_policy_is_out_are_refused_and_never_trained_on(world: Simulation) -> None:
    first, second, third = full_batch_with_rows_on_their_way(world)
    for actor in (first, second):
        assert actor.connection is not None
        world.deliver_down(actor.connection)
        world.deliver_up(actor.connection)
    world.pass_time(GRACE_SECONDS + 0.1)  # the third one does not hear STOP
    world.train()
    world.exchange()
    late = [number for numbers in third.shipped for number in numbers]
    assert {world.sampled[number] for number in late} == {(world.term, world.version - 1)}
    assert not world.ever_trained & set(late)
    assert learner_of(world).ledger.total().dropped["stale"] == len(late) > 0
    world.run_until_updates(2)
    assert not world.ever_trained & set(late)
    world.check()


def test_an_actor_that_dies_instead_of_answering_stop_is_not_waited_for_for_ever(world: Simulation) -> None:
    *_, third = full_batch_with_rows_on_their_way(world)
    world.kill(third)
    world.exchange()
    assert learner_of(world).cycle.phase is Phase.STOPPING
    world.pass_time(GRACE_SECONDS + 0.1)
    assert learner_of(world).cycle.phase is Phase.UPDATING
    world.run_until_updates(3)
    world.check()


def log_probs_now(trainer: Trainer, segment: Segment) -> np.ndarray:
    """Defect: the old log-probabilities are computed at the update, from the newest policy. [T, E]"""
    observations, actions = segment.observations["observation"][:-1], segment.actions["action"]
    with torch.no_grad():
        distribution = trainer.policy.distribution(
            trainer.policy.encoder(torch.from_numpy(observations.reshape(-1, 3)))
        )
        return distribution.log_prob(torch.from_numpy(actions.reshape(-1, 1))).numpy().reshape(segment.rewards.shape)


def pendulum(config: TrainConfig) -> tuple[Trainer, Collector]:
    """A learner, and an actor of four environments that acts with the learner's first policy."""
    environments = make_environments(EnvSettings("Pendulum-v1", vectorization="sync"), 4)
    settings = config.learner
    trainer = Trainer(environments.spec, ppo=settings.ppo, network=settings.network, seed=1, total_steps=10**6)
    collector = Collector(environments, seed=1, first_slot=0, life=0)
    collector.load(PolicyRunner(trainer.graph_bytes(1)))
    return trainer, collector


def collected(collector: Collector) -> Segment:
    for _ in range(64):
        collector.step()
    segment = collector.cut()
    assert segment is not None
    return segment


def first_ratio_error(trainer: Trainer, segment: Segment) -> float:
    """The largest |ratio - 1| before the first optimizer step of an update."""
    return trainer.update([Received("a", b"", 0, 0, segment)]).first_pass_ratio_error


def test_stored_log_probs_show_that_a_row_is_stale_and_recomputed_ones_hide_it() -> None:
    trainer, collector = pendulum(tutorial("dppo", ppo__learning_rate=1e-2))
    fresh, stale = collected(collector), collected(collector)  # both sampled with version 1
    np.testing.assert_allclose(log_probs_now(trainer, fresh), fresh.behaviour_log_probs, rtol=0, atol=1e-5)
    assert first_ratio_error(trainer, fresh) < RATIO_TOLERANCE
    as_if_fresh = replace(stale, behaviour_log_probs=log_probs_now(trainer, stale))  # version 2 is there
    ratios = np.exp(as_if_fresh.behaviour_log_probs - stale.behaviour_log_probs)
    other, _ = pendulum(tutorial("dppo", ppo__learning_rate=1e-2))
    first_ratio_error(other, fresh)  # the same update, so that both have the same version 2
    assert first_ratio_error(other, as_if_fresh) < RATIO_TOLERANCE  # the original's ratio: 1, of whatever age
    assert first_ratio_error(trainer, stale) == pytest.approx(np.abs(ratios - 1).max(), rel=1e-3)
    assert np.abs(ratios - 1).max() > 0.1


# Clipped actions, seen by the ratios


def with_clipped_actions(segment: Segment) -> Segment:
    """Defect: what the environment got is stored as if it had been sampled."""
    return replace(segment, actions={"action": segment.actions["action"].clip(-2, 2)})


def test_the_first_ratios_of_a_real_actors_actions_are_1_as_stored_and_not_where_they_are_stored_clipped() -> None:
    trainer, collector = pendulum(tutorial("dppo"))
    segment = collected(collector)
    assert (np.abs(segment.actions["action"]) > 2).any()
    other, _ = pendulum(tutorial("dppo"))
    assert first_ratio_error(trainer, segment) < RATIO_TOLERANCE
    assert first_ratio_error(other, with_clipped_actions(segment)) > 0.1
