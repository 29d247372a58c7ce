import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from trainer_batches import (
    CONTINUOUS,
    DISCRETE,
    PPO,
    SMALL,
    Reward,
    acted,
    assert_bit_equal,
    batch_for,
    make_trainer,
    report_of,
    weights,
)

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.epochs import minibatch_sizes
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import CheckpointError, DppoError
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Spec


def test_the_order_in_which_rollouts_arrive_does_not_change_a_single_bit() -> None:
    trained = []
    for order in itertools.permutations(range(3)):
        trainer = make_trainer()
        batch = batch_for(trainer)
        trainer.update([batch[i] for i in order])
        trained.append(weights(trainer))
    for other in trained[1:]:
        assert_bit_equal(trained[0], other)


def test_the_number_of_actors_that_the_slots_are_divided_among_does_not_change_a_single_bit() -> None:
    def side_by_side(segments: list[Segment]) -> Segment:
        def joined(name: str) -> np.ndarray:
            return np.concatenate([getattr(segment, name) for segment in segments], axis=1)

        flags = {name: joined(name) for name in ("rewards", "behaviour_log_probs", "terminated", "truncated", "valid")}
        observations = {"observation": np.concatenate([s.observations["observation"] for s in segments], axis=1)}
        actions = {"action": np.concatenate([s.actions["action"] for s in segments], axis=1)}
        return replace(segments[0], observations=observations, actions=actions, **flags)

    three, one = make_trainer(), make_trainer()
    finals = {"observation": np.zeros((0, 3), np.float32)}
    segments = [
        replace(rollout.segment, truncated=np.zeros((8, 4), bool), final_observations=finals)
        for rollout in batch_for(three)
    ]
    three.update([Received(f"a{i}", bytes([9 - i]), i, 4 * i, segment) for i, segment in enumerate(segments)])
    one.update([Received("all", b"", 0, 0, side_by_side(segments))])
    assert_bit_equal(weights(three), weights(one))


@pytest.mark.parametrize("spec", [CONTINUOUS, DISCRETE])
def test_on_policy_the_ratio_is_one_before_the_first_step_also_under_later_versions(spec: Spec) -> None:
    trainer = make_trainer(spec, replace(PPO, learning_rate=1e-2))
    for seed in range(3):
        report = trainer.update(batch_for(trainer, seed))
        assert report.first_pass_ratio_error < 1e-4
        assert report.ratio_error_by_actor.keys() == {"a0", "a1", "a2"}


def test_an_actor_with_stale_weights_is_named_by_the_ratio_check() -> None:
    trainer = make_trainer(ppo=replace(PPO, learning_rate=1e-2))
    stale = batch_for(trainer, seed=0)
    trainer.update(stale)
    fresh = batch_for(trainer, seed=1)
    report = trainer.update([fresh[0], stale[1], fresh[2]])
    assert report.ratio_error_by_actor["a1"] == report.first_pass_ratio_error > 1e-2
    assert max(report.ratio_error_by_actor["a0"], report.ratio_error_by_actor["a2"]) < 1e-4


def mean_reward(trainer: Trainer, reward: Reward) -> float:
    return float(acted(trainer, seed=99, T=100, reward=reward).rewards.mean())


@pytest.mark.parametrize(
    ("spec", "reward"),
    [(DISCRETE, lambda action: action == 1), (CONTINUOUS, lambda action: -np.abs(action - 2.0))],
)
def test_updates_learn_which_action_pays(spec: Spec, reward: Reward) -> None:
    ppo = PpoConfig(gamma=0.0, epochs=10, minibatch_steps=64, learning_rate=1e-2)
    trainer = make_trainer(spec, ppo)
    before = mean_reward(trainer, reward)
    for seed in range(25):
        trainer.update([Received("a", b"", 0, 0, acted(trainer, seed, T=64, reward=reward))])
    assert mean_reward(trainer, reward) > before + 0.5


@pytest.mark.slow
def test_a_critic_that_learns_explains_more_of_the_returns() -> None:
    trainer = make_trainer(ppo=PpoConfig(gamma=0.0, epochs=20, minibatch_steps=64, learning_rate=1e-2))

    def informative(seed: int) -> Segment:
        segment = acted(trainer, seed, T=64)
        return replace(segment, rewards=100 + 50 * np.tanh(segment.observations["observation"][:-1, :, 0]))

    reports = [trainer.update([Received("a", b"", 0, 0, informative(seed))]) for seed in range(10)]
    assert reports[0].explained_variance < 0.2
    assert reports[-1].explained_variance > 0.8


def test_a_resumed_run_continues_bit_for_bit() -> None:
    trainer = make_trainer(ppo=replace(PPO, learning_rate_schedule="kl", target_kl=1e-4))
    for seed in range(3):
        trainer.update(batch_for(trainer, seed))
    again = make_trainer(ppo=replace(PPO, learning_rate_schedule="kl", target_kl=1e-4))
    again.load(trainer.tensors(), trainer.counters())
    assert again.graph_bytes(3) == trainer.graph_bytes(3)
    batch = batch_for(trainer, seed=3)
    one, other = trainer.update(batch), again.update(batch)
    assert one == other
    assert_bit_equal(weights(trainer), weights(again))
    assert trainer.counters() == again.counters()
    assert trainer.graph_bytes(4) == again.graph_bytes(4)


def test_a_checkpoint_is_a_copy_that_training_does_not_touch() -> None:
    trainer = make_trainer()
    before = trainer.tensors()
    kept = {name: tensor.clone() for name, tensor in before.items()}
    trainer.update(batch_for(trainer))
    assert_bit_equal(before, kept)
    assert not torch.equal(trainer.tensors()["policy.body.0.weight"], kept["policy.body.0.weight"])


def test_a_checkpoint_of_another_network_is_refused_and_leaves_the_trainer_alone() -> None:
    trainer = make_trainer()
    before = weights(trainer)
    foreign = make_trainer(DISCRETE)
    with pytest.raises(CheckpointError, match=r"policy\.log_std is missing"):
        trainer.load(foreign.tensors(), foreign.counters())
    with pytest.raises(CheckpointError, match="updates is missing"):
        trainer.load(trainer.tensors(), {})
    assert_bit_equal(before, weights(trainer))


@pytest.mark.parametrize("name", ["rewards", "behaviour_log_probs"])
def test_a_nan_in_the_batch_is_refused_by_name_and_leaves_the_weights_alone(name: str) -> None:
    trainer = make_trainer()
    batch = batch_for(trainer)
    array = getattr(batch[1].segment, name).copy()
    array[2, 1] = np.nan
    batch[1] = replace(batch[1], segment=replace(batch[1].segment, **{name: array}))
    before = weights(trainer)
    with pytest.raises(DppoError, match=rf"1 {name.replace('_', ' ').replace('log p', 'log-p')} of a1"):
        trainer.update(batch)
    assert_bit_equal(before, weights(trainer))


def test_an_infinite_observation_is_refused() -> None:
    trainer = make_trainer()
    batch = batch_for(trainer)
    batch[0].segment.observations["observation"][0, 0, 0] = np.inf
    with pytest.raises(DppoError, match="observations"):
        trainer.update(batch)


def test_weights_that_diverge_end_the_run_and_say_so() -> None:
    trainer = make_trainer(ppo=replace(PPO, learning_rate=1e30, max_grad_norm=0.0))
    with pytest.raises(DppoError, match="diverged"):
        trainer.update(batch_for(trainer))


def test_observations_of_a_batch_normalise_from_the_next_version_on() -> None:
    trainer = make_trainer()
    batch = batch_for(trainer)
    with torch.no_grad():
        trainer.update(batch)
    seen = np.concatenate([rollout.segment.observations["observation"][:-1].reshape(-1, 3) for rollout in batch])
    np.testing.assert_allclose(trainer.policy.encoder.mean, seen.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(trainer.policy.encoder.scale, 1 / seen.std(axis=0), rtol=1e-5)


def test_reset_rows_change_nothing() -> None:
    def trained(junk: float) -> dict[str, torch.Tensor]:
        trainer = make_trainer()
        segment = acted(trainer, seed=0)
        valid, terminated, rewards = segment.valid.copy(), segment.terminated.copy(), segment.rewards.copy()
        terminated[3, 0], valid[4, 0], terminated[4, 0], rewards[4, 0] = True, False, False, junk
        truncated = np.zeros_like(terminated)
        flags = {"valid": valid, "terminated": terminated, "truncated": truncated, "rewards": rewards}
        finals = {"observation": np.zeros((0, 3), np.float32)}
        trainer.update([Received("a", b"", 0, 0, replace(segment, final_observations=finals, **flags))])
        return weights(trainer)

    assert_bit_equal(trained(junk=0.0), trained(junk=1e6))


def test_a_batch_of_resets_only_is_refused() -> None:
    trainer = make_trainer()
    segment = acted(trainer, seed=0)
    with pytest.raises(DppoError, match="no environment step"):
        trainer.update([Received("a", b"", 0, 0, replace(segment, valid=np.zeros_like(segment.valid)))])


def test_the_written_gradients_train_as_the_automatic_ones_do() -> None:
    def trained(way: str) -> dict[str, torch.Tensor]:
        trainer = Trainer(
            DISCRETE,
            ppo=replace(PPO, entropy_coefficient=0.01),
            network=SMALL,
            seed=1,
            total_steps=1000,
            gradients="analytic" if way == "analytic" else "autograd",
        )
        trainer.update(batch_for(trainer))
        return weights(trainer)

    automatic, analytic = trained("autograd"), trained("analytic")
    for name in ("policy.body.0.weight", "policy.body.2.weight", "critic.body.2.weight"):
        torch.testing.assert_close(automatic[name], analytic[name], atol=1e-5, rtol=1e-4)


def test_the_report_counts_steps_epochs_and_optimizer_steps() -> None:
    report = report_of(PPO)[0]
    assert (report.steps, report.epochs, report.optimizer_steps) == (96, 3, 18)
    assert report.policy_std == pytest.approx(1.0, abs=0.1)
    assert report.kl >= 0
    assert report.grad_norm > 0


def test_discrete_actions_have_an_entropy_and_no_deviation() -> None:
    trainer = make_trainer(DISCRETE)
    report = trainer.update(batch_for(trainer))
    assert math.isnan(report.policy_std)
    assert report.entropy == pytest.approx(math.log(3), abs=0.05)


def test_epochs_stop_once_the_policy_has_moved_too_far() -> None:
    assert report_of(replace(PPO, learning_rate=0.05, epochs=8, early_stop_kl=1e-3))[0].epochs < 8


def test_linear_schedules_fall_with_the_steps_trained() -> None:
    ppo = replace(PPO, learning_rate_schedule="linear", clip_schedule="linear")
    reports = report_of(ppo, total_steps=192, updates=3)
    assert [report.learning_rate for report in reports] == pytest.approx([3e-4, 1.5e-4, 0])
    assert [report.clip_range for report in reports] == pytest.approx([0.2, 0.1, 0])


def test_the_kl_schedule_follows_how_far_the_policy_moved() -> None:
    timid = report_of(replace(PPO, learning_rate=1e-5, learning_rate_schedule="kl"), updates=2)
    wild = report_of(replace(PPO, learning_rate=5e-2, learning_rate_schedule="kl"), updates=2)
    assert timid[1].learning_rate == pytest.approx(1.5e-5)
    assert wild[1].learning_rate == pytest.approx(5e-2 / 1.5)


@pytest.mark.parametrize("advantages", ["batch", "minibatch", "none"])
def test_every_way_to_normalise_advantages_trains(advantages: str) -> None:
    ppo = replace(PPO, normalise_advantages=advantages, normalise_values=advantages == "batch")
    assert math.isfinite(report_of(ppo)[0].policy_loss)


def test_minibatches_are_nearly_equal_parts() -> None:
    assert minibatch_sizes(100, 32) == [34, 33, 33]
    assert minibatch_sizes(10, 64) == [10]
    assert minibatch_sizes(128, 64) == [64, 64]
