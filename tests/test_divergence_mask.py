"""The divergence mask against plain loops and torch.distributions, and whole updates against an oracle of their own."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal, kl_divergence
from trainer_batches import CONTINUOUS, DISCRETE, PPO, SMALL, batch_for, make_trainer

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.divergence import masked_surrogate, total_variation
from dppo.learner.ppo.gradients import KlPenalty, Outputs
from dppo.learner.ppo.gradients_autograd import AutogradGradients
from dppo.learner.ppo.rows import Rows
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec

MASKED = replace(PPO, surrogate="divergence_mask", divergence_limit=2e-3, learning_rate=0.02, max_grad_norm=0.0)
VARIATION = replace(MASKED, divergence="total_variation", divergence_limit=0.02)


def test_a_row_is_masked_where_it_has_moved_too_far_and_would_move_further_row_by_row() -> None:
    rows = [(1.5, 1.0, 0.2), (1.5, -1.0, 0.2), (0.5, 1.0, 0.2), (0.5, -1.0, 0.2), (1.5, 1.0, 0.1), (3.0, 1.0, 0.0)]
    expected = []
    for ratio, advantage, divergence in rows:
        away = (ratio > 1 and advantage > 0) or (ratio < 1 and advantage < 0)
        expected.append(0.0 if divergence > 0.1 and away else ratio * advantage)
    assert expected == [0.0, -1.5, 0.5, 0.0, 1.5, 3.0]
    columns = torch.tensor(rows).unbind(1)
    assert masked_surrogate(*columns, 0.1).item() == pytest.approx(sum(expected) / len(rows))


def theirs(parameters: Tensor, spec: Spec) -> Distribution:
    if spec is DISCRETE:
        return Categorical(logits=parameters)
    mean, log_std = parameters.chunk(2, -1)
    return Independent(Normal(mean, log_std.exp()), 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "ppo"),
    [(CONTINUOUS, MASKED), (DISCRETE, MASKED), (DISCRETE, VARIATION)],
    ids=["gaussian", "categorical", "total variation"],
)
def test_every_gradient_of_an_update_is_that_of_a_loss_by_torch_distributions(spec: Spec, ppo: PpoConfig) -> None:
    trainer = Trainer(spec, ppo=ppo, network=SMALL, seed=1, total_steps=1000)
    gradients, masked = trainer._steps._gradients, []
    assert isinstance(gradients, AutogradGradients)
    taken = gradients.both

    def both(rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        with torch.enable_grad():
            new = theirs(trainer.policy.distribution(rows.features).rows(), spec)
            old = theirs(rows.old, spec)
            ratio = (new.log_prob(rows.actions) - rows.old_log_probs).exp()
            distance = kl_divergence(old, new)
            if ppo.divergence == "total_variation":
                distance = torch.stack(
                    [
                        sum(abs(p - q) for p, q in zip(*pair, strict=True)) / 2
                        for pair in zip(old.probs, new.probs, strict=True)
                    ]
                )
            kept = [
                not (d > ppo.divergence_limit and (r - 1) * a > 0)
                for d, r, a in zip(distance.tolist(), ratio.tolist(), rows.advantages.tolist(), strict=True)
            ]
            loss = -(ratio * rows.advantages * torch.tensor(kept)).mean()
            parameters = list(trainer.policy.parameters())
            expected = torch.autograd.grad(loss, parameters)
        masked.append(len(kept) - sum(kept))
        taken(rows, outputs, penalty)
        for parameter, slope in zip(parameters, expected, strict=True):
            torch.testing.assert_close(parameter.grad, slope, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(outputs.kls, kl_divergence(old, new).detach(), atol=1e-6, rtol=1e-4)

    gradients.both = both  # type: ignore[method-assign]
    report = trainer.update(batch_for(trainer))
    assert report.kl > 0
    assert masked[0] == 0
    assert 0 < max(masked) <= 16


def test_total_variation_is_half_the_sum_of_differences() -> None:
    trainer = make_trainer(DISCRETE)
    features = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        old, new = (trainer.policy.distribution(5 * part) for part in features)
        got = total_variation(old, new)
    slow = [
        sum(abs(p - q) for p, q in zip(*pair, strict=True)) / 2 for pair in zip(old[0].exp(), new[0].exp(), strict=True)
    ]
    torch.testing.assert_close(got, torch.stack(slow))


def test_the_early_stop_goes_by_the_analytic_kl() -> None:
    trainer = make_trainer(DISCRETE, replace(MASKED, early_stop_kl=1e-7, early_stop_per="minibatch"))
    assert trainer.update(batch_for(trainer)).optimizer_steps == 1
    with pytest.raises(UsageError, match=r"ppo\.divergence_limit"):
        PpoConfig(divergence_limit=0)
