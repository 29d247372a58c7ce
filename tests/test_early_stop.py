"""The epochs' end by KL, after an epoch or before the step of a minibatch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from trainer_batches import PPO, batch_for, make_trainer

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.epochs import UpdateReport
from dppo.learner.ppo.gradients import KlPenalty, Outputs
from dppo.learner.ppo.rows import Rows
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import UsageError

ONE = replace(PPO, epochs=6, learning_rate=5e-3, minibatch_steps=16, max_grad_norm=0.0)
PARTS = 6  # minibatches of a batch of 96 steps


def updated(ppo: PpoConfig) -> tuple[Trainer, UpdateReport]:
    trainer = make_trainer(ppo=ppo)
    return trainer, trainer.update(batch_for(trainer))


def kls_before_each_step(ppo: PpoConfig) -> list[float]:
    """The KL of each minibatch as a plain loop computes it from the policy at that moment."""
    trainer = make_trainer(ppo=ppo)
    taken, kls = trainer._steps._gradients.both, []

    def both(rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        new = trainer.policy.distribution(rows.features)
        if penalty is None:
            logs = (new.log_prob(rows.actions) - rows.old_log_probs).double().numpy()
            kls.append(sum(np.exp(log) - 1 - log for log in logs) / len(logs))
        else:
            mean, log_std = rows.old.chunk(2, -1)
            old = torch.distributions.Normal(mean, log_std.exp())
            kl = torch.distributions.kl_divergence(old, torch.distributions.Normal(new.mean, new.log_std.exp()))
            kls.append(kl.sum(-1).mean().item())
        taken(rows, outputs, penalty)

    trainer._steps._gradients.both = both
    trainer.update(batch_for(trainer))
    return kls


@pytest.mark.slow
@pytest.mark.parametrize("ppo", [ONE, replace(ONE, surrogate="kl_penalty")], ids=["clip", "kl_penalty"])
def test_no_step_is_made_on_the_first_minibatch_beyond_the_bound_nor_after_it(ppo: PpoConfig) -> None:
    kls = kls_before_each_step(ppo)
    assert len(kls) == 6 * PARTS
    bound = sorted(kls)[len(kls) // 2]
    first = next(index for index, kl in enumerate(kls) if kl > bound)
    trainer, report = updated(replace(ppo, early_stop_kl=bound * 1.0001, early_stop_per="minibatch"))
    first = next(index for index, kl in enumerate(kls) if kl > bound * 1.0001)
    assert (report.optimizer_steps, report.epochs) == (first, first // PARTS + 1)
    assert first % PARTS  # amid an epoch
    assert all(np.isfinite([report.policy_loss, report.value_loss, report.grad_norm, report.approx_kl, report.entropy]))
    assert trainer.counters()["updates"] == 1


def test_a_stop_at_an_epochs_first_minibatch_is_reported_as_the_figures_of_that_one() -> None:
    _, report = updated(replace(ONE, minibatch_steps=0, early_stop_kl=1e-9, early_stop_per="minibatch"))
    assert (report.optimizer_steps, report.epochs) == (1, 2)
    assert np.isfinite(report.grad_norm)


def test_after_an_epoch_every_minibatch_of_it_has_been_stepped_on() -> None:
    _, report = updated(replace(ONE, early_stop_kl=1e-9))
    assert (report.optimizer_steps, report.epochs) == (PARTS, 1)


def test_the_critic_with_passes_of_its_own_is_trained_whole() -> None:
    ppo = replace(ONE, critic_epochs=2, minibatch_steps=0, early_stop_kl=1e-9, early_stop_per="minibatch")
    _, report = updated(ppo)
    assert (report.optimizer_steps, report.epochs) == (1 + 2, 2)


def test_a_stop_by_minibatch_needs_a_bound() -> None:
    with pytest.raises(UsageError, match=r"ppo\.early_stop_kl"):
        PpoConfig(early_stop_per="minibatch")
