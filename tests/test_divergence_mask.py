"""The divergence mask against plain loops and torch.distributions, and whole updates against an oracle of their own."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal, kl_divergence
from trainer_batches import CONTINUOUS, DISCRETE, PPO, SMALL, batch_for, make_trainer

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.divergence import masked_surrogate
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


def variation(old: Distribution, new: Distribution) -> Tensor:
    if isinstance(old, Categorical):
        values = torch.arange(3)[:, None]
        return (old.log_prob(values).exp() - new.log_prob(values).exp()).abs().sum(0) / 2
    grid = torch.linspace(-12, 12, 12_001)
    densities = [side.log_prob(grid[:, None, None]).exp() for side in (old, new)]
    return torch.trapezoid((densities[0] - densities[1]).abs(), grid, dim=0) / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "ppo"),
    [(CONTINUOUS, MASKED), (DISCRETE, MASKED), (DISCRETE, VARIATION), (CONTINUOUS, VARIATION)],
    ids=["gaussian", "categorical", "total variation", "total variation of gaussians"],
)
def test_every_gradient_of_an_update_is_that_of_a_loss_by_torch_distributions(
    spec: Spec, ppo: PpoConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
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
                distance = variation(old, new)
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

    monkeypatch.setattr(gradients, "both", both)
    report = trainer.update(batch_for(trainer))
    assert report.kl > 0
    assert masked[0] == 0
    assert 0 < max(masked) <= 16


def test_the_early_stop_goes_by_the_analytic_kl() -> None:
    trainer = make_trainer(DISCRETE, replace(MASKED, early_stop_kl=1e-7, early_stop_per="minibatch"))
    assert trainer.update(batch_for(trainer)).optimizer_steps == 1
    with pytest.raises(UsageError, match=r"ppo\.divergence_limit"):
        PpoConfig(divergence_limit=0)
