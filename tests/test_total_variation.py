"""Total variations against sums over all actions, and against integrals on a grid."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from dppo.learner.models.distributions import Categorical, Distribution, Gaussian, Joint, MultiCategorical
from dppo.learner.models.masking import masked_log_probs
from dppo.learner.models.squashed_gaussian import SquashedGaussian
from dppo.learner.ppo.total_variation import total_variation

N = 4
GRID = torch.linspace(-15, 15, 10_001, dtype=torch.float64)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def log_probs(seed: int, *shape: int, legal: Tensor | None = None) -> Tensor:
    logits = torch.randn(N, *shape, generator=drawn(seed))
    return masked_log_probs(logits, torch.ones_like(logits, dtype=torch.bool) if legal is None else legal)


def gaussians(case: str) -> tuple[Gaussian, Gaussian]:
    mean, log_std, moved, grown = (
        torch.randn(4, N, 1, generator=drawn(3)) * torch.tensor([1, 0.3, 1, 0.3])[:, None, None]
    ).unbind(0)
    if case == "equal":
        return Gaussian(mean, log_std), Gaussian(mean, log_std)
    if case == "one std":
        return Gaussian(mean, log_std[0]), Gaussian(mean + moved, log_std[0])
    if case == "one mean":
        return Gaussian(mean, log_std), Gaussian(mean, log_std + grown)
    scale = {"any": 1.0, "near": 1e-2}[case]
    return Gaussian(mean, log_std), Gaussian(mean + scale * moved, log_std + scale * grown)


def integral(old: Gaussian, new: Gaussian, weights: Tensor, others: Tensor) -> Tensor:
    """Half the sum over c and integral over x of |weights N_old - others N_new|, on a grid; weights: [N, c]."""
    densities = [
        torch.distributions.Normal(side.mean.double(), side.log_std.double().exp()).log_prob(GRID).exp()
        for side in (old, new)
    ]
    total = torch.zeros(N, dtype=torch.float64)
    for weight, other in zip(weights.double().unbind(1), others.double().unbind(1), strict=True):
        differences = weight[:, None] * densities[0] - other[:, None] * densities[1]
        total += torch.trapezoid(differences.abs(), GRID) / 2
    return total.float()


@pytest.mark.parametrize("case", ["any", "near", "one std", "one mean", "equal"])
def test_of_one_number_it_is_the_integral(case: str) -> None:
    old, new = gaussians(case)
    one = torch.ones(N, 1)
    expected = integral(old, new, one, one)
    torch.testing.assert_close(total_variation(old, new), expected, atol=1e-5, rtol=1e-5)
    squashed = [SquashedGaussian(side, torch.ones(1)) for side in (old, new)]
    torch.testing.assert_close(total_variation(*squashed), total_variation(old, new))
    if case == "one std":  # the formula of textbooks
        distance = (new.mean - old.mean).abs()[:, 0] / old.log_std.exp()
        torch.testing.assert_close(expected, torch.erf(distance / math.sqrt(8)), atol=1e-5, rtol=1e-4)


def test_of_choices_it_is_half_the_sum_over_all_combinations() -> None:
    legal = torch.ones(N, 3, 4, dtype=torch.bool)
    legal[:, 1, 2:] = False  # an element of two values
    legal[0, 0, 3] = legal[1, 2, 0] = False  # and some that a mask forbids
    old, new = (MultiCategorical(log_probs(seed, 3, 4, legal=legal)) for seed in (1, 2))
    expected = torch.zeros(N)
    for values in itertools.product(range(4), repeat=3):
        action = torch.tensor(values).expand(N, 3)
        expected += (old.log_prob(action).exp() - new.log_prob(action).exp()).abs() / 2
    torch.testing.assert_close(total_variation(old, new), expected)
    one, other = (Categorical(log_probs(seed, 5)) for seed in (1, 2))
    summed = sum(
        (one.log_prob(a).exp() - other.log_prob(a).exp()).abs() / 2 for a in torch.arange(5)[:, None].expand(5, N)
    )
    assert isinstance(summed, Tensor)
    torch.testing.assert_close(total_variation(one, other), summed)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["any", "near", "one std", "equal"])
def test_of_a_number_beside_choices_it_is_a_sum_of_integrals(case: str) -> None:
    old, new = gaussians(case)
    legal = torch.ones(N, 2, 2, dtype=torch.bool)
    legal[0, 1, 0] = False
    choices = [MultiCategorical(log_probs(seed, 2, 2, legal=legal)) for seed in (4, 5)]
    sides: list[Distribution] = [Joint(side, part, 1) for side, part in zip((old, new), choices, strict=True)]
    weights = [
        (part.log_probs.exp()[:, 0, :, None] * part.log_probs.exp()[:, 1, None, :]).flatten(1) for part in choices
    ]
    got = total_variation(*sides)
    torch.testing.assert_close(got, integral(old, new, *weights), atol=1e-5, rtol=1e-5)
    assert (got < 1).all()


def test_a_choice_that_is_gone_counts_whole() -> None:
    """The mask belongs to the state and is the same for both: here it is not, to see that infinities stay inside."""
    old, new = gaussians("any")
    before, after = (torch.tensor([[[True, side]]]).expand(N, 1, 2) for side in (False, True))
    sides = [
        Joint(side, MultiCategorical(log_probs(7, 1, 2, legal=legal)), 1)
        for side, legal in ((old, before), (new, after))
    ]
    got = total_variation(*sides)
    weights = [side.choices.log_probs.exp()[:, 0] for side in sides]
    torch.testing.assert_close(got, integral(old, new, *weights), atol=1e-5, rtol=1e-5)
