"""Defects of the original tutorial's loss that are not copied: what each gives, and what the learner gives instead.

The original's formulas are written down anew in a few lines, as functions whose text names the defect. What stands
against them are the learner's own gradients, both ways. Policies are linear, and each row of a batch is a state of its
own where that matters: so the weights of a state have the gradient of its row alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import gymnasium as gym
import pytest
import torch
from perceptrons import policy_for
from torch import Tensor

from dppo.learner.models.building import perceptron_critic
from dppo.learner.models.distributions import Distribution, Gaussian
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.ppo.adam import FlatAdam
from dppo.learner.ppo.gradients import Outputs
from dppo.learner.ppo.gradients_analytic import AnalyticGradients
from dppo.learner.ppo.gradients_autograd import AutogradGradients
from dppo.learner.ppo.losses import surrogate_limits
from dppo.learner.ppo.rows import Rows
from dppo.protocol.specs import spec_of

CLIP = 0.2
Way = type[AutogradGradients] | type[AnalyticGradients]
both_ways = pytest.mark.parametrize("way", [AutogradGradients, AnalyticGradients])


def linear_policy(action: gym.Space, outputs_by_state: Tensor) -> PolicyNetwork:
    """Gives the outputs [states, o] in its states; deviations are 1."""
    policy = policy_for(
        spec_of(gym.spaces.Discrete(len(outputs_by_state)), action),
        hidden=(),
        activation="tanh",
        initial_log_std=0.0,
        action_bounds="clip",
        normalise_observations=False,
        generator=torch.Generator().manual_seed(1),
    )
    policy.body[0].weight.data.copy_(outputs_by_state.t())
    return policy


def gaussian_policy(*means: float) -> PolicyNetwork:
    """One state with these means."""
    return linear_policy(gym.spaces.Box(-2, 2, (len(means),)), torch.tensor([means]))


def one_state(rows: int) -> Tensor:
    return torch.zeros(rows, dtype=torch.int64)


@torch.no_grad()
def log_probs_of(policy: PolicyNetwork, states: Tensor, actions: Tensor) -> Tensor:
    return policy.distribution(policy.encoder(states)).log_prob(actions)


def our_slopes(
    way: Way, policy: PolicyNetwork, states: Tensor, actions: Tensor, old_log_probs: Tensor, advantages: Tensor
) -> tuple[Tensor, Tensor]:
    """(d surrogate / d outputs [states, o], log-probs [n]) by the learner's own gradients, of rows in these states."""
    features = policy.encoder(states)
    critic = perceptron_critic(
        features.shape[1], hidden=(), activation="tanh", generator=torch.Generator().manual_seed(1)
    )
    FlatAdam([policy, critic], epsilon=1e-8)  # gives parameters and gradients their place
    n = len(states)
    said = Outputs(torch.zeros(n), torch.zeros(n), torch.zeros(n), torch.zeros(n))
    limits = surrogate_limits(advantages, CLIP)
    rows = Rows(
        {}, torch.arange(n), features, actions, old_log_probs, advantages, limits, torch.zeros(n), torch.empty(n, 0)
    )
    way(policy, critic, value_coefficient=1.0, entropy_coefficient=0.0).policy(rows, said, None)
    return -policy.body[0].weight.grad.t().clone(), said.log_probs


def slopes_of(policy: PolicyNetwork, states: Tensor, objective: Callable[[Distribution], Tensor]) -> Tensor:
    """d objective / d outputs, [states, o]."""
    value = objective(policy.distribution(policy.encoder(states)))
    return torch.autograd.grad(value, policy.body[0].weight)[0].t()


# The (N, N) loss


def crossed_surrogate(ratios: Tensor, advantages: Tensor) -> Tensor:
    """Defect: ratios [N] times a column of advantages [N, 1] is [N, N]; every action meets every row's advantage."""
    column = advantages.unsqueeze(1)
    products = torch.minimum(ratios * column, ratios.clamp(1 - CLIP, 1 + CLIP) * column)
    assert products.shape == (len(ratios), len(ratios))
    return products.mean()


STATES, CHOICES = torch.arange(3), torch.tensor([0, 1, 1])


def crossed_and_ours(way: Way, *advantages: float) -> tuple[Tensor, Tensor]:
    """Slopes by logits [3, 2] of the crossed surrogate and of ours, on the same three rows."""
    policy = linear_policy(gym.spaces.Discrete(2), torch.tensor([[0.3, -0.3], [0.0, 0.5], [1.0, 0.0]]))
    old, own = log_probs_of(policy, STATES, CHOICES), torch.tensor(advantages)
    crossed = slopes_of(policy, STATES, lambda now: crossed_surrogate((now.log_prob(CHOICES) - old).exp(), own))
    return crossed, our_slopes(way, policy, STATES, CHOICES, old, own)[0]


@both_ways
def test_the_advantage_of_one_row_leaks_into_all_others_of_the_crossed_loss_and_into_none_of_ours(way: Way) -> None:
    crossed, ours = crossed_and_ours(way, 1.0, -2.0, 0.5)
    crossed_later, ours_later = crossed_and_ours(way, 1.0, -2.0, 50.0)
    assert not torch.isclose(crossed[:2], crossed_later[:2], rtol=0.5).any()
    torch.testing.assert_close(ours[:2], ours_later[:2], rtol=0, atol=0)
    torch.testing.assert_close(ours[2] * 100, ours_later[2])


@both_ways
def test_a_bad_action_becomes_likelier_with_the_crossed_loss_where_others_did_well_and_rarer_with_ours(
    way: Way,
) -> None:
    crossed, ours = crossed_and_ours(way, -1.0, 3.0, 4.0)
    assert crossed[0, CHOICES[0]] > 0.1
    assert ours[0, CHOICES[0]] < -0.1


@both_ways
def test_advantages_of_mean_0_teach_the_crossed_loss_nothing(way: Way) -> None:
    crossed, ours = crossed_and_ours(way, 1.0, -3.0, 2.0)
    assert crossed.abs().max() < 1e-6
    assert ours.abs().min() > 0.05


# Ratios by dimension


def surrogate_by_dimension(ratios: Tensor, advantages: Tensor) -> Tensor:
    """Defect: a ratio [N, D] for each dimension of an action, clipped by itself, and none for the action as a whole."""
    column = advantages.unsqueeze(1)
    return torch.minimum(ratios * column, ratios.clamp(1 - CLIP, 1 + CLIP) * column).mean()


class Clipped(NamedTuple):
    """The action (1, 1) of advantage 1, whose means were 0, under new ones."""

    ratios: Tensor  # [2], by dimension
    joint: Tensor  # [], of the action
    apart: Tensor  # [2] slopes by means where each dimension is clipped by itself
    ours: Tensor  # [2] slopes by means


def clipped(way: Way, *means: float) -> Clipped:
    policy, state, action, advantage = gaussian_policy(*means), one_state(1), torch.ones(1, 2), torch.ones(1)
    old = Gaussian(torch.zeros(1, 2), torch.zeros(2)).log_prob(action)

    def ratios(now: Distribution) -> Tensor:
        assert isinstance(now, Gaussian)
        return ((action.square() - (action - now.mean).square()) / 2).exp()

    with torch.no_grad():
        by_dimension = ratios(policy.distribution(policy.encoder(state)))[0]
    apart = slopes_of(policy, state, lambda now: surrogate_by_dimension(ratios(now), advantage))
    ours, log_probs = our_slopes(way, policy, state, action, old, advantage)
    joint = (log_probs - old).exp()[0]
    torch.testing.assert_close(joint, by_dimension.prod())
    return Clipped(by_dimension, joint, apart[0], ours[0])


@both_ways
def test_an_action_may_leave_the_range_where_each_dimension_is_clipped_by_itself(way: Way) -> None:
    got = clipped(way, 0.19, 0.19)
    assert (got.ratios < 1 + CLIP).all()
    assert got.joint > 1.4
    assert (got.apart > 0.1).all()  # pushes on
    torch.testing.assert_close(got.ours, torch.zeros(2))


@both_ways
def test_a_dimension_loses_its_gradient_for_being_out_of_the_range_although_the_action_is_within(way: Way) -> None:
    got = clipped(way, 0.5, -0.3)
    assert got.ratios[0] > 1.4
    assert 1 - CLIP < got.joint < 1 + CLIP
    assert got.apart[0] == 0
    torch.testing.assert_close(got.ours, got.joint * (1 - torch.tensor([0.5, -0.3])))  # r A (a - m)


# Ratios of probabilities


def ratio_of_probabilities(log_probs: Tensor, old_log_probs: Tensor) -> Tensor:
    """Defect: densities are divided, with 1e-5 against a division by 0, where their logarithms could be subtracted."""
    return log_probs.exp() / (old_log_probs.exp() + 1e-5)


@both_ways
@pytest.mark.parametrize(
    ("dimensions", "deviations", "lowest", "highest"),
    [
        (1, 0.5, 0.9999, 0.99998),  # a likely action: nearly right
        (1, 4.5, 0.5, 0.7),  # a rare one
        (8, 1.0, 0.5, 0.6),  # a likely one of eight joints
        (17, 1.0, 1e-6, 1e-5),
        (80, 1.0, 0.0, 0.0),  # float32 has no such density: 0 / 1e-5, and no gradient at all
    ],
)
def test_before_the_first_step_the_ratio_is_1_and_the_gradient_whole_however_small_the_density(
    way: Way, dimensions: int, deviations: float, lowest: float, highest: float
) -> None:
    policy, state = gaussian_policy(*[0.0] * dimensions), one_state(1)
    action, advantage = torch.full((1, dimensions), deviations), torch.full((1,), 3.0)
    old = log_probs_of(policy, state, action)
    wrong = ratio_of_probabilities(old, old)
    assert lowest <= wrong.item() <= highest
    faded = slopes_of(policy, state, lambda now: (ratio_of_probabilities(now.log_prob(action), old) * advantage).mean())
    torch.testing.assert_close(faded, wrong * advantage * action, rtol=1e-4, atol=0)
    ours, log_probs = our_slopes(way, policy, state, action, old, advantage)
    torch.testing.assert_close(ours, advantage * action, rtol=1e-4, atol=0)
    torch.testing.assert_close((log_probs - old).exp(), torch.ones(1), rtol=0, atol=1e-4)


# Clipped actions


class Sampled(NamedTuple):
    """What an actor runs."""

    policy: PolicyNetwork
    states: Tensor
    actions: Tensor  # stored and trained on
    for_environment: Tensor  # the same within +-2, which is what the original stores
    log_probs: Tensor


def sampled(rows: int) -> Sampled:
    """From a mean half a deviation below the upper bound."""
    policy, states = gaussian_policy(1.5), one_state(rows)
    with torch.no_grad():
        return Sampled(
            policy, states, *policy(states, torch.randn(rows, 1, generator=torch.Generator().manual_seed(1)))
        )


def test_the_density_of_the_clipped_action_is_not_that_of_what_was_sampled() -> None:
    policy, states, actions, stored_by_the_original, log_probs = sampled(1000)
    out = (actions != stored_by_the_original).squeeze(-1)
    assert 0.25 < out.float().mean() < 0.35
    torch.testing.assert_close(log_probs_of(policy, states, actions), log_probs)
    wrong = log_probs_of(policy, states, stored_by_the_original)
    assert (wrong[out] > log_probs[out]).all()  # each taken for likelier than it was
    assert (wrong - log_probs).exp().max() > 10


@both_ways
def test_equally_good_actions_pull_the_mean_inwards_where_they_are_stored_clipped_and_nowhere_with_us(
    way: Way,
) -> None:
    policy, states, actions, stored_by_the_original, _ = sampled(4096)

    def pull(stored: Tensor) -> float:
        old = log_probs_of(policy, states, stored)
        return our_slopes(way, policy, states, stored, old, torch.ones(len(stored)))[0].item()

    standard_error = len(actions) ** -0.5
    assert pull(stored_by_the_original) < -10 * standard_error  # its expectation is -0.198
    assert abs(pull(actions)) < 3 * standard_error
