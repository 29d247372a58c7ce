"""Batches that hold steps of several versions of the policy: which step is how old, and what that is not."""

from dataclasses import replace

import numpy as np
import pytest
from trainer_batches import PPO, acted, assert_bit_equal, make_trainer, weights

from dppo.learner.ppo.batch import Received, lay_out
from dppo.learner.ppo.stitching import assemble
from dppo.learner.ppo.trainer import Trainer


def moved(updates: int = 2) -> tuple[Trainer, list[Received]]:
    """A trainer at version `updates` + 1, and a rollout that was made under each version."""
    trainer = make_trainer(ppo=replace(PPO, learning_rate=3e-3))
    rollouts = []
    for version in range(1, updates + 2):
        rollout = Received(f"a{version}", bytes([version]), 0, 4 * version, acted(trainer, version), 1, version)
        rollouts.append(rollout)
        if version <= updates:
            trainer.update([replace(rollout, segment=acted(trainer, 50 + version))], version)
    return trainer, rollouts


def test_the_report_says_how_old_the_steps_were() -> None:
    trainer, rollouts = moved()
    report = trainer.update(rollouts, 3)
    assert report.staleness_max == 2
    assert report.staleness_mean == pytest.approx(1.0)
    assert trainer.update([replace(rollouts[-1], segment=acted(trainer, 9), version=4)], 4).staleness_max == 0


def test_a_step_of_an_older_policy_is_no_mistake_and_one_of_the_newest_is_checked() -> None:
    trainer, rollouts = moved()
    unaware = make_trainer(ppo=replace(PPO, learning_rate=3e-3))
    unaware.load(trainer.tensors(), trainer.counters())
    assert unaware.update(rollouts).ratio_excess > 1, "the policy has moved, so this test tests something"
    report = trainer.update(rollouts, 3)
    assert report.ratio_excess <= 1
    assert report.steps_left_out == 0
    trainer, rollouts = moved()
    rollouts[-1].segment.behaviour_log_probs[3, 2] += 0.1
    report = trainer.update(rollouts, 3)
    assert report.ratio_excess > 1
    assert report.ratio_excess_actor == "a3"


def test_steps_keep_their_version_where_rollouts_are_stitched() -> None:
    trainer, _ = moved(0)
    whole = acted(trainer, 1, T=6, E=2)
    whole.valid[2, 1] = False
    first = replace(
        whole,
        observations={"observation": whole.observations["observation"][:3]},
        **{name: getattr(whole, name)[:2] for name in ("behaviour_log_probs", "rewards", "valid")},
        actions={"action": whole.actions["action"][:2]},
        terminated=np.zeros((2, 2), bool),
        truncated=np.zeros((2, 2), bool),
        final_observations={"observation": np.empty((0, 3), np.float32)},
    )
    second = replace(
        first,
        observations={"observation": whole.observations["observation"][2:5]},
        **{name: getattr(whole, name)[2:4] for name in ("behaviour_log_probs", "rewards", "valid")},
        actions={"action": whole.actions["action"][2:4]},
    )
    batch = [Received("a", b"a", 1, 0, first, 1, 7), Received("a", b"a", 2, 0, second, 1, 8)]
    (stitched,) = assemble(batch[::-1])
    grid = lay_out([stitched])
    assert grid.version_of_step.tolist() == [7, 7, 8, 8, 7, 7, 8], "by column, then by time; a reset is no step"
    assert lay_out(batch[:1]).version_of_step.tolist() == [7] * 4


def test_a_batch_of_the_newest_version_alone_is_trained_on_as_ever() -> None:
    one, rollouts = moved(0)
    other, _ = moved(0)
    one.update(rollouts)
    other.update(rollouts, 1)
    assert_bit_equal(weights(one), weights(other))
