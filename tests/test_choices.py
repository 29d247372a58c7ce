"""MultiCategorical and Joint against torch.distributions, and by enumeration of small spaces."""

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from acting_envs import DEEP, OBSERVED
from gymnasium import spaces
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal, kl_divergence

from dppo.learner.config import NetworkConfig
from dppo.learner.models import distributions
from dppo.learner.models.building import build_networks
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.ppo.checks import rounding
from dppo.learner.ppo.gradients_analytic import applies_to
from dppo.protocol.specs import spec_of

N = 6
COUNTS = (2, 4, 1, 3)
RAGGED = spaces.Dict({"a": spaces.MultiDiscrete([2, 4]), "b": spaces.MultiDiscrete([[1, 3]])})


def policy_of(space: gym.Space[Any], seed: int) -> PolicyNetwork:
    config = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), normalise_observations=False)
    policy, _ = build_networks(spec_of(OBSERVED, space), config, seed)
    with torch.no_grad():
        last = policy.body[-1]
        assert isinstance(last, torch.nn.Linear)
        last.bias.copy_(torch.randn(last.bias.shape, generator=torch.Generator().manual_seed(seed)))
    return policy


def features(seed: int = 0) -> Tensor:
    return torch.rand((N, 3), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def theirs(policy: PolicyNetwork, observed: Tensor) -> tuple[Tensor, list[Categorical]]:
    """(outputs for the Gaussian, a distribution for each choice), from the outputs of the last layer."""
    outputs = policy.body(observed)
    numbers, most = policy.layout.numbers, policy.layout.most
    blocks = outputs[:, numbers:].split(most, 1)
    choices = zip(blocks, policy.layout.choices, strict=True)
    return outputs[:, :numbers], [Categorical(logits=block[:, :count]) for block, count in choices]


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_several_choices_are_those_of_torch() -> None:
    policy, older = policy_of(RAGGED, 1), policy_of(RAGGED, 2)
    assert policy.layout.choices == COUNTS
    ours, old = policy.distribution(features()), older.distribution(features())
    (_, each), (_, each_old) = theirs(policy, features()), theirs(older, features())
    actions = torch.stack([choice.sample() for choice in each], 1)
    pairs = list(zip(each, actions.unbind(1), strict=True))
    close(ours.log_prob(actions), torch.stack([choice.log_prob(action) for choice, action in pairs]).sum(0))
    close(ours.entropy(), torch.stack([choice.entropy() for choice in each]).sum(0))
    both = zip(each_old, each, strict=True)
    close(ours.kl_from(old), torch.stack([kl_divergence(one, other) for one, other in both]).sum(0))
    close(ours.of_rows(ours.rows()[2:4]).log_prob(actions[2:4]), ours.log_prob(actions)[2:4])


@torch.no_grad()
def test_numbers_and_choices_add_up_to_those_of_torch() -> None:
    policy, older = policy_of(DEEP, 1), policy_of(DEEP, 2)
    ours, old = policy.distribution(features()), older.distribution(features())
    assert isinstance(ours, distributions.Joint)
    assert policy.log_std is not None
    (mean, each), (old_mean, each_old) = theirs(policy, features()), theirs(older, features())
    normal, old_normal = (Independent(Normal(m, policy.log_std.exp()), 1) for m in (mean, old_mean))
    numbers, chosen = normal.sample(), torch.stack([choice.sample() for choice in each], 1)
    action = torch.cat([numbers, chosen], 1)
    pairs = zip(each, chosen.unbind(1), strict=True)
    close(ours.log_prob(action), normal.log_prob(numbers) + sum(one.log_prob(action) for one, action in pairs))
    close(ours.entropy(), normal.entropy() + sum(one.entropy() for one in each))
    both = zip(each_old, each, strict=True)
    close(ours.kl_from(old), kl_divergence(old_normal, normal) + sum(kl_divergence(a, b) for a, b in both))
    close(ours.of_rows(ours.rows()[2:4]).log_prob(action[2:4]), ours.log_prob(action)[2:4])
    assert (rounding(ours, action) >= 1e-4).all()


@torch.no_grad()
def test_flags_are_bernoullis() -> None:
    policy = policy_of(spaces.MultiBinary([2, 2]), 3)
    outputs = policy.body(features()).reshape(N, 4, 2)
    flags = Independent(Bernoulli(logits=outputs[..., 1] - outputs[..., 0]), 1)
    ours, sample = policy.distribution(features()), flags.sample()
    close(ours.log_prob(sample.to(torch.int64)), flags.log_prob(sample))
    close(ours.entropy(), flags.entropy())


ENUMERATED = {
    "choices": spaces.MultiDiscrete([2, 4, 3], start=[1, 0, -2]),
    "rank 2": spaces.MultiDiscrete([[2, 1], [3, 2]]),
    "flags": spaces.MultiBinary(4),
    "integers": spaces.Box(np.array([-1, 3], np.int8), np.array([1, 7], np.int8), dtype=np.int8),
    "nested": spaces.Tuple([spaces.Discrete(3), spaces.Dict({"x": spaces.MultiBinary(2), "y": spaces.Discrete(2)})]),
}


@torch.no_grad()
@pytest.mark.parametrize("space", ENUMERATED.values(), ids=ENUMERATED.keys())
def test_probabilities_of_all_actions_sum_to_one_and_give_entropy_and_kl(space: gym.Space[Any]) -> None:
    policy, older = policy_of(space, 4), policy_of(space, 5)
    ours, old = policy.distribution(features()), older.distribution(features())
    actions = torch.tensor(list(itertools.product(*map(range, policy.layout.choices))))
    log_probs = torch.stack([ours.log_prob(action.expand(N, -1)) for action in actions])
    old_log_probs = torch.stack([old.log_prob(action.expand(N, -1)) for action in actions])
    close(log_probs.exp().sum(0), torch.ones(N))
    close(ours.entropy(), -(log_probs.exp() * log_probs).sum(0))
    close(ours.kl_from(old), (old_log_probs.exp() * (old_log_probs - log_probs)).sum(0))


def test_gradients_of_choices_that_an_element_lacks_are_zero_and_all_are_finite() -> None:
    policy, older = policy_of(RAGGED, 1), policy_of(RAGGED, 2)
    ours, old = policy.distribution(features()), older.distribution(features())
    action = torch.zeros(N, len(COUNTS), dtype=torch.int64)
    (ours.log_prob(action) + ours.entropy() + ours.kl_from(old.of_rows(old.rows().detach()))).sum().backward()
    last = policy.body[-1]
    assert isinstance(last, torch.nn.Linear)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in policy.parameters())
    missing = torch.tensor([place >= count for count in COUNTS for place in range(4)])
    assert last.bias.grad is not None
    assert (last.bias.grad[missing] == 0).all()
    assert (last.bias.grad[~missing] != 0).sum() >= 8


def test_numbers_of_several_leaves_have_analytic_gradients_and_choices_automatic_ones() -> None:
    config = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,))
    boxes = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Box(0, 1, ())})
    for space, analytic in ((boxes, True), (spaces.Tuple([spaces.Discrete(3)]), True), (DEEP, False), (RAGGED, False)):
        assert applies_to(*build_networks(spec_of(OBSERVED, space), config, 1)) is analytic
