"""Passes of policy and critic apart, the KL penalty and shaped rewards, as the trainer does them: against the same
update written down naively, with PyTorch's own optimizers and distributions.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from naive_update import PENALTY, TUTORIAL, TUTORIAL_NETWORK, Naive
from torch import Tensor
from trainer_batches import CONTINUOUS, DISCRETE, acted, assert_bit_equal, batch_for, weights

from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.optimizer import ActorCriticOptimizer, Way
from dppo.learner.ppo.schedules import Schedules
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import CheckpointError, DppoError, UsageError
from dppo.protocol.specs import Spec


def make_trainer(ppo: PpoConfig = TUTORIAL, spec: Spec = CONTINUOUS, *, way: Way = "analytic") -> Trainer:
    return Trainer(spec, ppo=ppo, network=TUTORIAL_NETWORK, seed=1, total_steps=1000, gradients=way)


@pytest.mark.fast(2)
@pytest.mark.parametrize("spec", [CONTINUOUS, DISCRETE])
@pytest.mark.parametrize("ppo", [TUTORIAL, PENALTY, replace(TUTORIAL, terminal_reward=-10.0)])
@pytest.mark.parametrize("way", ["analytic", "autograd"])
def test_an_update_is_the_tutorials_update_written_down_naively(spec: Spec, ppo: PpoConfig, way: Way) -> None:
    trainer, other = make_trainer(ppo, spec, way=way), make_trainer(ppo, spec)
    batch = batch_for(trainer)
    report = trainer.update(batch)
    kl = Naive(other, ppo, batch).update(ppo.kl_coefficient)
    for ours, theirs in ((trainer.policy, other.policy), (trainer.critic, other.critic)):
        parameters = dict(ours.named_parameters())
        for name, tensor in theirs.named_parameters():
            torch.testing.assert_close(parameters[name], tensor, atol=2e-5, rtol=1e-4)
    assert report.kl == pytest.approx(kl, rel=1e-3)
    assert report.kl > 2 * PENALTY.target_kl  # far enough for the hinge to matter


def test_the_report_counts_the_passes_of_both() -> None:
    trainer = make_trainer(replace(TUTORIAL, minibatch_steps=32))
    report = trainer.update(batch_for(trainer))
    assert (report.epochs, report.optimizer_steps) == (10, 3 * (10 + 7))
    report = make_trainer().update(batch_for(trainer))
    assert (report.epochs, report.optimizer_steps) == (10, 10 + 7)
    assert report.value_loss > 0


def test_without_a_penalty_the_coefficient_is_not_a_number_and_no_counter() -> None:
    trainer = make_trainer()
    assert math.isnan(trainer.update(batch_for(trainer)).kl_coefficient)
    assert trainer.counters().keys() == {"updates", "steps_trained", "learning_rate", "learning_rate_setting"}


@pytest.mark.parametrize(
    ("rate", "expected"), [(1e-7, [0.5, 0.25, 0.125, 0.1, 0.1]), (1e-2, [0.5, 1.0, 2.0, 3.0, 3.0])]
)
def test_the_coefficient_follows_how_far_the_updates_moved_the_policy(rate: float, expected: list[float]) -> None:
    ppo = replace(PENALTY, kl_hinge=0.0, kl_coefficient_min=0.1, kl_coefficient_max=3.0, learning_rate=rate)
    trainer = make_trainer(ppo)
    reports = [trainer.update(batch_for(trainer, seed)) for seed in range(5)]
    assert [report.kl_coefficient for report in reports] == expected
    assert all((report.kl > 1.5e-3) == (rate == 1e-2) for report in reports[:4])


def test_a_higher_coefficient_and_a_hinge_hold_the_policy_back() -> None:
    def moved(**settings: float) -> float:
        trainer = make_trainer(
            replace(PENALTY, **{"kl_hinge": 0.0, "kl_factor": 1.0, "kl_coefficient": 1e-4, **settings})
        )
        return trainer.update(batch_for(trainer)).kl

    free = moved()
    assert moved(kl_coefficient=10.0) < 0.5 * free
    assert moved(kl_hinge=1000.0) < 0.5 * free


@pytest.mark.parametrize("ppo", [TUTORIAL, PENALTY])
def test_early_stopping_ends_the_policys_passes_one_step_late_and_leaves_the_critics(ppo: PpoConfig) -> None:
    ppo = replace(ppo, learning_rate=1e-4)

    def seen_by_pass(number: int) -> float:
        """KL of the policy that so many steps less one have made: sampled for the clip, analytic for the penalty."""
        epochs = number if ppo.surrogate == "clip" else number - 1
        trainer = make_trainer(replace(ppo, epochs=epochs))
        report = trainer.update(batch_for(trainer))
        return report.approx_kl if ppo.surrogate == "clip" else report.kl

    before, after = seen_by_pass(2), seen_by_pass(3)
    assert before < 0.6 * after
    trainer = make_trainer(replace(ppo, early_stop_kl=(before + after) / 2))
    report = trainer.update(batch_for(trainer))
    assert report.epochs == 3  # the second step went too far, which the third pass found out
    assert report.optimizer_steps == 3 + 7


def test_a_resumed_run_continues_bit_for_bit_with_its_coefficient_and_both_adams() -> None:
    trainer = make_trainer(PENALTY)
    for seed in range(3):
        trainer.update(batch_for(trainer, seed))
    again = make_trainer(PENALTY)
    again.load(trainer.tensors(), trainer.counters())
    assert trainer.counters()["kl_coefficient"] == again.counters()["kl_coefficient"] != 0.5
    batch = batch_for(trainer, seed=3)
    assert repr(trainer.update(batch)) == repr(again.update(batch))
    assert_bit_equal(weights(trainer), weights(again))
    assert any(name.startswith("critic_adam.") for name in weights(again))


def test_a_checkpoint_of_another_way_to_train_is_refused() -> None:
    together = make_trainer(replace(TUTORIAL, critic_epochs=0, critic_learning_rate=0.0))
    with pytest.raises(CheckpointError, match=r"critic_adam\.steps is missing.*settings of networks"):
        make_trainer().load(together.tensors(), together.counters())
    with pytest.raises(CheckpointError, match="kl_coefficient is missing"):
        make_trainer(PENALTY).load(make_trainer().tensors(), make_trainer().counters())


def test_the_critics_rate_moves_the_critic_only_and_in_the_same_passes_too() -> None:
    for critic_epochs in (0, 7):
        trained = []
        for rate in (1e-3, 2e-3):
            trainer = make_trainer(replace(TUTORIAL, critic_epochs=critic_epochs, critic_learning_rate=rate))
            trainer.update(batch_for(trainer))
            trained.append(weights(trainer))
        slow, fast = trained
        for name in ("policy.body.0.weight", "policy.body.2.bias"):
            assert torch.equal(slow[name], fast[name])
        assert not torch.equal(slow["critic.body.0.weight"], fast["critic.body.0.weight"])


def test_passes_of_the_critic_alone_leave_the_policys_passes_alone() -> None:
    def policy_after(critic_epochs: int) -> Tensor:
        trainer = make_trainer(replace(TUTORIAL, critic_epochs=critic_epochs, minibatch_steps=32))
        trainer.update(batch_for(trainer))
        return weights(trainer)["policy.body.0.weight"]

    assert torch.equal(policy_after(1), policy_after(9))
    assert torch.equal(policy_after(1), policy_after(0))  # whose critic has an Adam of its own too


def test_a_critic_without_an_adam_of_its_own_cannot_be_trained_alone() -> None:
    trainer = make_trainer()
    rest = {"epsilon": 1e-8, "max_grad_norm": 0.0, "value_coefficient": 1.0, "entropy_coefficient": 0.0}
    steps = ActorCriticOptimizer(trainer.policy, trainer.critic, apart=False, way="analytic", **rest)
    with pytest.raises(ValueError, match="apart"):
        steps.critic(None, None, torch.zeros(()))


def test_a_whole_batch_is_one_minibatch() -> None:
    def trained(minibatch_steps: int) -> dict[str, Tensor]:
        trainer = make_trainer(replace(TUTORIAL, minibatch_steps=minibatch_steps))
        trainer.update(batch_for(trainer))
        return weights(trainer)

    whole, one = trained(0), trained(96)
    for name in ("policy.body.0.weight", "critic.body.0.weight"):
        torch.testing.assert_close(whole[name], one[name], atol=1e-4, rtol=1e-3)  # summed up in another order


def test_shaped_rewards_train_as_rewards_of_that_size_would() -> None:
    shaped, plain = make_trainer(), make_trainer(replace(TUTORIAL, reward_offset=0.0, reward_scale=1.0))
    paid = acted(shaped, seed=0)
    shaped.update([Received("a", b"", 0, 0, paid)])
    plain.update([Received("a", b"", 0, 0, replace(paid, rewards=((paid.rewards + 8) / 8).astype(np.float32)))])
    assert_bit_equal(weights(shaped), weights(plain))


@pytest.mark.parametrize("advantages", ["batch", "minibatch", "none"])
def test_the_penalty_takes_every_way_to_normalise_advantages(advantages: str) -> None:
    ppo = replace(PENALTY, normalise_advantages=advantages, minibatch_steps=32)
    trainer = make_trainer(ppo)
    assert math.isfinite(trainer.update(batch_for(trainer)).policy_loss)


def test_a_critic_that_diverges_ends_the_run_and_says_whose_rate_to_lower() -> None:
    trainer = make_trainer(replace(TUTORIAL, critic_learning_rate=1e30))
    with pytest.raises(DppoError, match=r"critic's epoch \d.*ppo\.critic_learning_rate"):
        trainer.update(batch_for(trainer))


def test_the_linear_schedule_moves_the_critics_rate_and_the_kl_schedule_does_not() -> None:
    pace = Schedules(replace(TUTORIAL, learning_rate_schedule="linear", clip_schedule="linear"), total_steps=100)
    pace.set_for(25)
    assert (pace.learning_rate, pace.critic_learning_rate) == pytest.approx((0.75e-3, 1.5e-3))
    assert pace.clip_range == pytest.approx(0.15)
    pace = Schedules(replace(TUTORIAL, learning_rate_schedule="kl"), total_steps=100)
    pace.adapt_to(1.0)
    pace.set_for(25)
    assert (pace.learning_rate, pace.critic_learning_rate) == pytest.approx((1e-3 / 1.5, 2e-3))


def test_a_critic_without_a_rate_of_its_own_has_the_policys() -> None:
    pace = Schedules(replace(TUTORIAL, critic_learning_rate=0.0, learning_rate_schedule="kl"), total_steps=100)
    pace.adapt_to(1.0)
    pace.set_for(25)
    assert pace.critic_learning_rate == pace.learning_rate == pytest.approx(1e-3 / 1.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kl_factor": 0.5}, r"ppo\.kl_factor=0\.5 must be at least 1"),
        ({"kl_band_low": 2.0}, r"ppo\.kl_band_low <= ppo\.kl_band_high does not hold for 2\.0, 1\.5"),
        ({"kl_coefficient": 11.0}, r"kl_coefficient_max does not hold for 0\.0001, 11\.0, 10\.0"),
        ({"reward_scale": 0.0}, r"ppo\.reward_scale=0\.0 must be above 0"),
        ({"critic_epochs": -1}, r"ppo\.critic_epochs=-1 must be at least 0"),
        ({"adam_epsilon": 0.0}, "adam_epsilon"),
        ({"minibatch_steps": -1}, "minibatch_steps"),
        ({"kl_hinge": -1.0}, "kl_hinge"),
    ],
)
def test_settings_out_of_their_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(TUTORIAL, **settings)


def test_network_settings_out_of_their_range_are_refused() -> None:
    with pytest.raises(UsageError, match=r"network\.std_floor"):
        NetworkConfig(std_floor=0.0)
    with pytest.raises(UsageError, match=r"starts below network\.std_floor=0\.5: choose more than -0\.69"):
        NetworkConfig(std="state", std_floor=0.5, initial_log_std=-0.7)
