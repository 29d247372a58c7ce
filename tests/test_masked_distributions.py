"""Distributions under a mask against torch.distributions on the legal choices, and in the exported graph."""

from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime as ort
import pytest
import torch
from acting_envs import OBSERVED
from gymnasium import spaces
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from dppo.actor.sampling.noise import drawn
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.models.building import build_networks
from dppo.learner.models.distributions import Joint
from dppo.learner.models.masking import MaskLayout, masked_log_probs
from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.ppo.adam import FlatAdam
from dppo.learner.ppo.checks import rounding
from dppo.learner.ppo.gradients import KlPenalty, Outputs
from dppo.learner.ppo.gradients_analytic import AnalyticGradients, applies_to
from dppo.learner.ppo.gradients_autograd import AutogradGradients
from dppo.learner.ppo.losses import surrogate_limits
from dppo.learner.ppo.rows import Rows
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.specs import Spec, masked_spec, spec_of

N = 6
SPACES: dict[str, gym.Space[Any]] = {
    "discrete": spaces.Discrete(5, start=3),
    "even": spaces.MultiDiscrete([3, 3]),
    "ragged": spaces.MultiDiscrete([[2, 4], [1, 3]]),
    "flags": spaces.MultiBinary(3),
    "joint": spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(-1, 1, (2,)), "c": spaces.MultiDiscrete([2, 4])}),
}


def spec_for(space: gym.Space[Any]) -> Spec:
    return masked_spec(spec_of(OBSERVED, space))


def networks(space: gym.Space[Any], seed: int = 1, scale: float = 1.0) -> tuple[PolicyNetwork, CriticNetwork]:
    config = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), normalise_observations=False)
    policy, critic = build_networks(spec_for(space), config, seed)
    with torch.no_grad():
        last = [*policy.body.children()][-1]
        assert isinstance(last, torch.nn.Linear)
        last.bias.copy_(scale * torch.randn(last.bias.shape, generator=torch.Generator().manual_seed(seed)))
    return policy, critic


def masks(space: gym.Space[Any], seed: int = 0, rows: int = N) -> Tensor:
    """Flat ones, of which each element has a legal choice; one row allows one of each only, another one all."""
    choices = [count for leaf in spec_for(space).action for count in leaf.choices]
    rng, blocks = np.random.default_rng(seed), []
    for count in choices:
        block = rng.random((rows, count)) < 0.5
        block[0] = False
        block[np.arange(rows), rng.integers(0, count, rows)] = True
        block[1] = True
        blocks.append(block)
    return torch.from_numpy(np.concatenate(blocks, 1))


def features(seed: int = 0) -> Tensor:
    return torch.rand((N, 3), generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Legal:
    """PyTorch's own distributions of the legal choices alone, a row and an element at a time."""

    def __init__(self, policy: PolicyNetwork, mask: Tensor) -> None:
        outputs = policy.body(features())
        layout = policy.layout
        self.numbers = outputs[:, : layout.numbers]
        logits = outputs[:, layout.numbers :].split(layout.most, 1)
        flags = mask.split(list(layout.choices), 1)
        self.legal = [[flag[row].nonzero()[:, 0] for flag in flags] for row in range(len(mask))]
        self.each = [
            [Categorical(logits=block[row][places]) for block, places in zip(logits, self.legal[row], strict=True)]
            for row in range(len(mask))
        ]

    def log_prob(self, choices: Tensor) -> Tensor:
        place = [
            [int((legal == choice).nonzero()[0, 0]) for legal, choice in zip(row, of_row, strict=True)]
            for row, of_row in zip(self.legal, choices, strict=True)
        ]
        return torch.stack(
            [
                torch.stack([one.log_prob(torch.tensor(at)) for one, at in zip(row, places, strict=True)]).sum()
                for row, places in zip(self.each, place, strict=True)
            ]
        )

    def entropy(self) -> Tensor:
        return torch.stack([torch.stack([one.entropy() for one in row]).sum() for row in self.each])

    def kl_from(self, old: "Legal") -> Tensor:
        rows = zip(old.each, self.each, strict=True)
        return torch.stack(
            [torch.stack([kl_divergence(a, b) for a, b in zip(*pair, strict=True)]).sum() for pair in rows]
        )


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def sampled(policy: PolicyNetwork, legal: Tensor, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return policy.distribution(features(), legal).sample(torch.randn((N, policy.outputs), generator=generator))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_log_probs_entropies_kls_and_their_gradients_are_those_of_the_legal_choices(space: gym.Space[Any]) -> None:
    policy, _ = networks(space)
    (older, _), mask = networks(space, 2), masks(space)
    assert policy.mask is not None
    legal = policy.mask(mask)
    action = sampled(policy, legal)
    ours, old = (
        policy.distribution(features(), legal),
        older.distribution(features(), legal).of_rows(older.distribution(features(), legal).rows().detach()),
    )
    theirs, their_old = Legal(policy, mask), Legal(older, mask)
    numbers, choices = (None, action[:, None]) if action.ndim == 1 else policy.layout.halves(action)
    assert choices is not None
    expected = [theirs.log_prob(choices), theirs.entropy(), theirs.kl_from(their_old)]
    if numbers is not None:
        assert policy.log_std is not None
        assert older.log_std is not None
        normal = Independent(Normal(theirs.numbers, policy.log_std.exp()), 1)
        old_normal = Independent(Normal(their_old.numbers.detach(), older.log_std.detach().exp()), 1)
        expected[0] = expected[0] + normal.log_prob(numbers)
        expected[1] = expected[1] + normal.entropy()
        expected[2] = expected[2] + kl_divergence(old_normal, normal)
    found = [ours.log_prob(action), ours.entropy(), ours.kl_from(old)]
    weights = torch.linspace(-1, 2, N)
    for one, other in zip(found, expected, strict=True):
        close(one, other)
        wanted = torch.autograd.grad(
            (weights * other).sum(), list(policy.parameters()), retain_graph=True, allow_unused=True
        )
        got = torch.autograd.grad(
            (weights * one).sum(), list(policy.parameters()), retain_graph=True, allow_unused=True
        )
        for mine, reference in zip(got, wanted, strict=True):
            assert (mine is None) == (reference is None) or not (mine if reference is None else reference).any()
            if mine is not None and reference is not None:
                close(mine, reference)
    assert (rounding(ours, action) < 1e-3).all()  # forbidden choices do not widen what the ratio check allows
    close(ours.of_rows(ours.rows()[2:4]).log_prob(action[2:4]), ours.log_prob(action)[2:4])


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_forbidden_choices_have_probability_zero_exactly_and_get_no_gradient(space: gym.Space[Any]) -> None:
    policy, _ = networks(space)
    assert policy.mask is not None
    legal = policy.mask(masks(space))
    distribution = policy.distribution(features(), legal)
    choices: Any = distribution.choices if isinstance(distribution, Joint) else distribution
    assert (choices.log_probs.exp()[~legal] == 0).all()
    assert choices.log_probs.isfinite().all()
    close(choices.log_probs.exp().sum(-1), torch.ones(legal.shape[:-1]))
    logits = torch.randn(legal.shape, requires_grad=True)
    log_probs = masked_log_probs(logits, legal)
    (log_probs.exp() * log_probs).sum().backward()
    assert logits.grad is not None
    assert (logits.grad[~legal] == 0).all()


EXTREMES = [0.0, 1.0, -1.0, 1e4, -1e4, 1e9, -1e9, 1e38, -1e38, 3.4e38, -3.4e38]


@pytest.mark.parametrize("extreme", EXTREMES)
def test_logits_at_the_ends_of_float32_stay_finite_and_forbidden_choices_are_never_chosen(extreme: float) -> None:
    legal = torch.tensor([[True, True, False, False], [False, True, True, False], [False, False, False, True]])
    logits = torch.tensor([[0.0, 1.0, extreme, 3.0]] * 3)
    logits[1, 1] = extreme
    leaf = logits.clone().requires_grad_()
    log_probs = masked_log_probs(leaf, legal)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    kl = (log_probs.exp().detach() * (log_probs.detach() - log_probs)).sum(-1)
    (log_probs[legal].sum() + entropy.sum() + kl.sum()).backward()
    assert leaf.grad is not None
    for tensor in (log_probs, entropy, kl, leaf.grad):
        assert tensor.isfinite().all()
    noise = torch.from_numpy(np.random.default_rng(1).gumbel(size=(1000, 3, 4)).astype(np.float32))
    chosen = (log_probs.detach() + noise).argmax(-1)
    assert legal.expand(1000, 3, 4).gather(-1, chosen.unsqueeze(-1)).all()
    close(log_probs[0, :2], torch.tensor([0.0, 1.0]).log_softmax(-1))  # whatever the forbidden ones have


def rows_for(policy: PolicyNetwork, *, penalised: bool) -> Rows:
    generator = torch.Generator().manual_seed(1)
    space = SPACES["discrete"]
    assert policy.mask is not None
    legal, advantages = policy.mask(masks(space)), torch.randn(N, generator=generator)
    action = sampled(policy, legal)
    with torch.no_grad():
        old = networks(space, 5)[0].distribution(features(), legal)
        old_log_probs = policy.distribution(features(), legal).log_prob(action) + 0.3 * torch.randn(
            N, generator=generator
        )
    limits = torch.full((N,), torch.inf) if penalised else surrogate_limits(advantages, 0.2)
    targets = torch.randn(N, generator=generator)
    old_rows = old.rows() if penalised else torch.empty(N, 0)
    return Rows({}, torch.arange(N), features(), action, old_log_probs, advantages, limits, targets, old_rows, legal)


@pytest.mark.parametrize("penalty", [None, KlPenalty(0.7, 3.0, 0.005)], ids=["clip", "penalty"])
@pytest.mark.parametrize("entropy_coefficient", [0.0, 0.3])
def test_the_analytic_gradients_cover_masks(penalty: KlPenalty | None, entropy_coefficient: float) -> None:
    found = []
    for make in (AnalyticGradients, AutogradGradients):
        policy, critic = networks(SPACES["discrete"])
        assert applies_to(policy, critic)
        adam = FlatAdam([policy, critic], epsilon=1e-5)
        rows = rows_for(policy, penalised=penalty is not None)
        gradients = make(policy, critic, value_coefficient=0.5, entropy_coefficient=entropy_coefficient)
        outputs = Outputs(*torch.zeros(4, N))
        gradients.policy(rows, outputs, penalty)
        found.append([adam.gradient.clone(), *outputs])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert found[0][0].abs().max() > 1e-3


@pytest.mark.fast(2)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
@pytest.mark.parametrize("scale", [1.0, 1e30])
def test_the_exported_graph_is_the_network_and_never_chooses_what_is_forbidden(
    space: gym.Space[Any], scale: float
) -> None:
    spec = spec_for(space)
    network = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,))
    trainer = Trainer(spec, ppo=PpoConfig(), network=network, seed=1, total_steps=1000)
    policy = trainer.policy
    with torch.no_grad():
        last = [*policy.body.children()][-1]
        assert isinstance(last, torch.nn.Linear)
        last.bias.copy_(scale * torch.randn(last.bias.shape, generator=torch.Generator().manual_seed(3)))
    graph = trainer.graph_bytes(1)
    session, runner = ort.InferenceSession(graph), PolicyRunner(graph)
    names = [put.name for put in session.get_inputs()]
    assert names == ["observation", "action_mask", "noise"]
    rows = 256
    mask = masks(space, 4, rows)
    rng = np.random.default_rng(1)
    for noise in (drawn(rng, runner.noise_parts, rows), np.zeros((rows, runner.noise_size), np.float32)):
        observation = rng.uniform(-1, 1, (rows, 3)).astype(np.float32)
        got = session.run(None, {"observation": observation, "action_mask": mask.numpy(), "noise": noise})
        with torch.no_grad():
            expected = policy(torch.from_numpy(observation), mask, torch.from_numpy(noise))
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-5)
        assert np.isfinite(got[-1]).all()
        first = 0
        for leaf, stored in zip(spec.action, got, strict=False):
            for element, count in enumerate(leaf.choices):
                picked = stored.reshape(rows, -1)[:, element].astype(int)
                assert mask.numpy()[np.arange(rows), first + picked].all()
                first += count


def test_a_masked_layout_lays_a_flat_mask_out_by_element() -> None:
    policy, _ = networks(SPACES["ragged"])
    layout = MaskLayout(policy.layout)
    flat = torch.tensor([[True, False, False, True, True, False, True, False, True, True]])
    assert layout(flat).int().tolist() == [[[1, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 1, 1, 0]]]
