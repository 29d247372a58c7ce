"""Beta distributions against torch.distributions and their own distribution function, their graph, and training."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.distributions import Beta as TorchBeta
from torch.distributions import kl_divergence
from trainer_batches import OBSERVATIONS

from dppo.actor.sampling.noise import drawn, noise_parts
from dppo.learner.config import NetworkConfig
from dppo.learner.models import graph_check
from dppo.learner.models.beta import TRIES, Beta
from dppo.learner.models.building import build_networks
from dppo.learner.models.distributions import Joint
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.learner.ppo.gradients_analytic import applies_to
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import spec_of

BOUNDED = gym.spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))
SPACES = {
    "Box": BOUNDED,
    "Dict": gym.spaces.Dict(arm=BOUNDED, tool=gym.spaces.Discrete(3)),
}
SHAPES = [(1.0, 1.0), (1.001, 5.0), (2.0, 3.0), (60.0, 1.0), (300.0, 500.0)]  # alpha, beta
LOGITS = np.linspace(-40, 40, 40_001)


def random_pair(seed: int) -> tuple[Beta, TorchBeta]:
    shapes = 1 + torch.empty(2, 400, 2).exponential_(0.2, generator=torch.Generator().manual_seed(seed))
    return Beta(*shapes.unbind(0), 2), TorchBeta(*shapes.double().unbind(0))


def logits(n: int, size: int) -> Tensor:
    return 3 * torch.randn(n, size, generator=torch.Generator().manual_seed(5))


@pytest.mark.slow
def test_log_probs_entropies_and_kls_are_those_of_torch_distributions() -> None:
    (ours, theirs), (old, their_old) = random_pair(0), random_pair(1)
    y = logits(400, 2)
    inside = (y.abs() < 12).all(-1)
    expected = theirs.log_prob(y.double().sigmoid()).sum(-1)
    torch.testing.assert_close(ours.log_prob(y)[inside].double(), expected[inside], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours.entropy().double(), theirs.entropy().sum(-1), atol=1e-4, rtol=1e-5)
    expected = kl_divergence(their_old, theirs).sum(-1)
    torch.testing.assert_close(ours.kl_from(old).double(), expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours.std().double(), theirs.stddev)
    torch.testing.assert_close(ours.of_rows(ours.rows()).log_prob(y), ours.log_prob(y))
    far = Beta(ours.alpha * 1e3, ours.beta, 2).log_prob(torch.full((400, 2), -200.0))
    assert far.isfinite().all()


def test_slopes_are_those_of_torch_distributions() -> None:
    shapes = torch.tensor([[1.01, 2.0, 30.0], [3.0, 1.5, 9.0]], requires_grad=True)
    y = torch.tensor([[0.5, -1.0, 2.0]])
    ours = Beta(shapes[:1], shapes[1:], 3)
    theirs = TorchBeta(*shapes.double().unbind(0))
    for of_ours, of_theirs in (
        (ours.log_prob(y), theirs.log_prob(y.double().sigmoid())),
        (ours.entropy(), theirs.entropy()),
    ):
        slopes = [torch.autograd.grad(value.sum(), shapes, retain_graph=True)[0] for value in (of_ours, of_theirs)]
        torch.testing.assert_close(slopes[0], slopes[1], atol=2e-5, rtol=1e-4)


def distribution_function(alpha: float, beta: float) -> np.ndarray:
    """Return the distribution function of the logit at LOGITS: the integral of its density."""
    density = np.exp(-alpha * np.logaddexp(0, -LOGITS) - beta * np.logaddexp(0, LOGITS))
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return below / below[-1]


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [SHAPES[1], *(pytest.param(*shape, marks=pytest.mark.slow) for shape in SHAPES if shape != SHAPES[1])],
)
def test_samples_have_the_distribution_by_a_kolmogorov_smirnov_test(alpha: float, beta: float) -> None:
    n = 20_000
    parts = noise_parts(f"normal:{2 * TRIES} gumbel:{2 * TRIES}", 4 * TRIES)
    noise = torch.from_numpy(drawn(np.random.default_rng(3), parts, n))
    shapes = torch.tensor([alpha, beta]).expand(n, 2)
    y = np.sort(Beta(shapes[:, :1], shapes[:, 1:], 1).sample(noise)[:, 0].numpy())
    expected = np.interp(y, LOGITS, distribution_function(alpha, beta))
    steps = np.arange(n + 1) / n
    distance = max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max())
    assert distance * math.sqrt(n) < 1.63  # exceeded once in a hundred


def test_a_try_is_rejected_once_in_twenty_at_most_and_the_next_one_taken() -> None:
    n = 8000
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(n, 2 * TRIES, generator=generator)
    gumbel = -torch.empty(n, 2 * TRIES).exponential_(generator=generator).log()
    one = Beta(torch.ones(n, 1), torch.full((n, 1), 4.0), 1)
    taken = one.sample(torch.cat([normal, gumbel], 1))
    normal[:, 1:TRIES] = normal[:, 2 : TRIES + 1].clone()  # of the first Gamma variable: other tries behind the first
    gumbel[:, 1:TRIES] = gumbel[:, 2 : TRIES + 1].clone()
    changed = (one.sample(torch.cat([normal, gumbel], 1)) != taken).float().mean()
    assert 0.04 < changed < 0.057


def test_noise_of_zeros_gives_nearly_the_median() -> None:
    for alpha, beta in SHAPES:
        one = Beta(torch.tensor([[alpha]]), torch.tensor([[beta]]), 1)
        y = one.sample(torch.zeros(1, 4 * TRIES)).item()
        assert np.interp(y, LOGITS, distribution_function(alpha, beta)) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", [pytest.param("Box", marks=pytest.mark.slow), "Dict"])
def test_the_graph_gives_actions_within_bounds_and_their_log_probs(name: str) -> None:
    spec = spec_of(OBSERVATIONS, SPACES[name])
    policy, critic = build_networks(spec, NetworkConfig(policy_hidden=(8,), distribution="beta"), 1)
    assert not applies_to(policy, critic)
    rng = np.random.default_rng(0)
    noise = 2 * drawn(rng, noise_parts(policy.noise, policy.outputs), 50)
    observation = rng.normal(size=(50, 3)).astype(np.float32)
    graph = PolicyExporter(policy, spec).graph_bytes(1)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    got = dict(zip(outputs, session.run(None, {"observation": observation, "noise": noise}), strict=True))
    leaf = "action.arm" if name == "Dict" else "action"
    y, given = (torch.from_numpy(got[key]) for key in (leaf, f"env_{leaf}"))
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 10.0])
    assert ((given >= low) & (given <= high)).all()
    torch.testing.assert_close(given, low + (high - low) * y.sigmoid())
    with torch.no_grad():
        distribution = policy.distribution(policy.encode({"observation": torch.from_numpy(observation)}))
    numbers = distribution.numbers if isinstance(distribution, Joint) else distribution
    assert isinstance(numbers, Beta)
    expected = TorchBeta(numbers.alpha.double(), numbers.beta.double()).log_prob(y.double().sigmoid()).sum(-1)
    if isinstance(distribution, Joint):
        expected += distribution.choices.log_prob(torch.from_numpy(got["action.tool"])[:, None]).double()
    torch.testing.assert_close(torch.from_numpy(got["log_prob"]).double(), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("rows", [2, 5])
def test_a_try_that_rounding_decides_is_no_other_policy_and_many_are(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(OBSERVATIONS, BOUNDED)
    policy, _ = build_networks(spec, NetworkConfig(policy_hidden=(8,), distribution="beta"), 1)
    graph = PolicyExporter(policy, spec).graph_bytes(1)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    class Rounded:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            outputs = [output.copy() for output in session.run(names, feed)]
            for output in outputs:
                output[:rows] += 0.3
            return outputs

    monkeypatch.setattr(graph_check, "_session", lambda graph: Rounded())
    if rows == 2:
        graph_check.check_graph(graph, policy, spec)
        return
    with pytest.raises(UsageError, match="gives another action in onnxruntime than in PyTorch"):
        graph_check.check_graph(graph, policy, spec)


def test_settings_of_gaussians_and_heads_of_the_users_are_refused() -> None:
    given: dict[str, Any] = {"std": "state", "initial_log_std": -1.0, "action_bounds": "squash", "mean": "tanh"}
    for name, value in given.items():
        with pytest.raises(UsageError, match=rf"network\.{name}=.* is of Gaussians") as caught:
            NetworkConfig(distribution="beta", **{name: value})
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"distribution=beta is of the built-in head"):
        NetworkConfig(distribution="beta", head="my_nets:make_head")
