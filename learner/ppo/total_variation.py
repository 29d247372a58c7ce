"""The total variation of two policies in one state, where it has a closed form. Knows distributions; knows no training.

    TV = (1/2) sum over c of integral |p(c) N(x; m, s) - p'(c) N(x; m', s')| dx

for one number x beside the combinations c of all choices, or for either of them alone. A tanh behind the number changes
nothing, since it is one to one. Gaussians of several numbers have no closed form unless their covariances are equal.
"""

import torch
from torch import Tensor

from dppo.learner.models.distributions import Categorical, Distribution, Joint, MultiCategorical
from dppo.learner.models.exploration import gaussian_of


@torch.no_grad()
def total_variation(old: Distribution, new: Distribution) -> Tensor:
    """Half the integral of |p_old - p_new|, [N], of two distributions of one kind.

    Of Categorical, MultiCategorical, and a Gaussian of one number, squashed or not, alone or in a Joint.
    """
    before, after = _combinations(old), _combinations(new)
    if before is not None and after is not None and not isinstance(old, Joint):
        return 0.5 * (before - after).abs().sum(-1)
    (mean, log_std), (new_mean, new_log_std) = _number(old), _number(new)
    one = torch.ones_like(mean)
    distances = weighted_distance(
        one if before is None else before.double(),
        one if after is None else after.double(),
        (new_mean - mean) * (-log_std).exp(),
        (new_log_std - log_std).exp(),
    )
    return 0.5 * distances.sum(-1).float()


def weighted_distance(weight: Tensor, other_weight: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Integral of |weight N(x; 0, 1) - other_weight N(x; mean, std)| over x, [N, c], of float64 tensors [N, c or 1].

    The densities cross where a x^2 + b x + c = 0; in between the integral is a difference of distribution functions.
    A crossing that rounding has moved a little changes the result by the square of that.
    """
    precision = std.pow(-2)
    a, b = 0.5 * (precision - 1.0), -mean * precision
    c = 0.5 * mean.square() * precision + std.log() + weight.log() - other_weight.log()
    root = (b.square() - 4.0 * a * c).sqrt()
    q = -0.5 * (b + torch.where(b < 0, -root, root))  # no difference of two numbers that are nearly equal
    crossings = [torch.where(x.isnan(), 0.0, x) for x in (q / a, c / q)]  # where they do not cross, any two points do
    first, second = torch.minimum(*crossings), torch.maximum(*crossings)
    at_first, at_second = (
        weight * torch.special.ndtr(x) - other_weight * torch.special.ndtr((x - mean) / std) for x in (first, second)
    )
    distance: Tensor = at_first.abs() + (at_second - at_first).abs() + (weight - other_weight - at_second).abs()
    return distance


def _combinations(distribution: Distribution) -> Tensor | None:
    """Probabilities of all combinations of choices, [N, c]; None where there are only numbers."""
    if isinstance(distribution, Categorical):
        return distribution.log_probs.exp()
    choices = distribution.choices if isinstance(distribution, Joint) else distribution
    if not isinstance(choices, MultiCategorical):
        return None
    first, *others = choices.log_probs.exp().unbind(1)
    for probs in others:
        first = (first.unsqueeze(-1) * probs.unsqueeze(1)).flatten(1)
    return first


def _number(distribution: Distribution) -> tuple[Tensor, Tensor]:
    """Mean and log std of the one number, float64 [N, 1] each."""
    gaussian = gaussian_of(distribution)
    assert gaussian is not None, "check_options says so"
    assert gaussian.mean.shape[-1] == 1, "check_options says so"
    return gaussian.mean.double(), gaussian.log_std.expand_as(gaussian.mean).double()
