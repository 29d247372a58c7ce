"""Gaussians behind a tanh against torch.distributions, their graph, and training on them."""

from typing import Literal

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch
from torch.distributions import AffineTransform, Independent, Normal, TanhTransform, TransformedDistribution
from trainer_batches import OBSERVATIONS, PPO, batch_for

from dppo.learner.config import NetworkConfig
from dppo.learner.models.building import build_networks
from dppo.learner.models.distributions import Gaussian, Joint
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.learner.models.squashed_gaussian import SquashedGaussian
from dppo.learner.ppo.gradients_analytic import applies_to
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import spec_of

BOUNDED = gym.spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))
SPACES = {
    "bounded": BOUNDED,
    "one of two": gym.spaces.Box(np.array([-2.0, -np.inf], np.float32), np.array([2.0, np.inf], np.float32)),
    "joint": gym.spaces.Dict(arm=BOUNDED, tool=gym.spaces.Discrete(3)),
}


def random_pair(seed: int, n: int = 400) -> tuple[SquashedGaussian, TransformedDistribution]:
    generator = torch.Generator().manual_seed(seed)
    mean, log_std = torch.randn(2, n, 2, generator=generator, dtype=torch.float64)
    ours = SquashedGaussian(Gaussian(mean, log_std * 0.7), torch.ones(2, dtype=torch.float64))
    return ours, TransformedDistribution(Normal(mean, (log_std * 0.7).exp()), [TanhTransform(cache_size=1)])


def test_log_probs_are_those_of_torchs_transformed_distribution() -> None:
    ours, theirs = random_pair(0)
    noise = torch.randn(400, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    u = ours.sample(noise)
    action = u.tanh()
    inside = (action.abs() < 0.9999).all(-1)
    expected = theirs.log_prob(action).sum(-1)
    torch.testing.assert_close(ours.log_prob(u)[inside], expected[inside], atol=1e-6, rtol=1e-6)
    assert ours.log_prob(torch.full((400, 2), 60.0, dtype=torch.float64)).isfinite().all()


def test_a_dimension_without_a_tanh_is_a_gaussian() -> None:
    both, _ = random_pair(1)
    half = both._replace(squashed=torch.tensor([1.0, 0.0], dtype=torch.float64))
    u = torch.randn(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plain = Normal(both.gaussian.mean, both.gaussian.log_std.exp()).log_prob(u)
    slope = torch.log(1 - u.tanh().square())
    torch.testing.assert_close(half.log_prob(u), plain.sum(-1) - slope[:, 0])


def test_entropies_are_means_of_minus_log_prob_and_kls_of_log_ratios() -> None:
    (ours, _), (old, _) = random_pair(2, 8), random_pair(3, 8)
    noise = torch.randn(60_000, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples = ours.sample(noise)  # [samples, 8, 2]
    torch.testing.assert_close(ours.entropy(), -ours.log_prob(samples).mean(0), atol=0.03, rtol=0.01)
    of_old = old.sample(noise)
    kl = (old.log_prob(of_old) - ours.log_prob(of_old)).mean(0)
    torch.testing.assert_close(ours.kl_from(old), kl, atol=0.05, rtol=0.03)
    torch.testing.assert_close(ours.of_rows(ours.rows()).log_prob(samples[0]), ours.log_prob(samples[0]))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("std", ["free", "state"])
def test_the_graph_gives_actions_within_bounds_and_their_log_probs(name: str, std: Literal["free", "state"]) -> None:
    spec = spec_of(OBSERVATIONS, SPACES[name])
    policy, critic = build_networks(spec, NetworkConfig(policy_hidden=(8,), action_bounds="squash", std=std), 1)
    assert not applies_to(policy, critic)
    rng = np.random.default_rng(0)
    noise = (3.0 * rng.normal(size=(50, policy.outputs))).astype(np.float32)
    observation = rng.normal(size=(50, 3)).astype(np.float32)
    graph = PolicyExporter(policy, spec).graph_bytes(1)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    got = dict(zip(outputs, session.run(None, {"observation": observation, "noise": noise}), strict=True))
    leaf = "action.arm" if name == "joint" else "action"
    u, given = (torch.from_numpy(got[key]) for key in (leaf, f"env_{leaf}"))
    with torch.no_grad():
        distribution = policy.distribution(policy.encode({"observation": torch.from_numpy(observation)}))
    numbers = distribution.numbers if isinstance(distribution, Joint) else distribution
    assert isinstance(numbers, SquashedGaussian)
    if name == "one of two":
        torch.testing.assert_close(given, torch.stack([2 * u[:, 0].tanh(), u[:, 1]], -1))
        return
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 10.0])
    assert ((given >= low) & (given <= high)).all()
    torch.testing.assert_close(given, (low + high) / 2 + (high - low) / 2 * u.tanh())
    if name == "bounded":
        scale = (high - low) / 2
        normal = Normal(numbers.gaussian.mean.double(), numbers.gaussian.log_std.exp().double())
        theirs = TransformedDistribution(normal, [TanhTransform(), AffineTransform((low + high) / 2, scale)])
        inside = (u.abs() < 4).all(-1)
        expected = Independent(theirs, 1).log_prob((low + high) / 2 + scale * u.double().tanh())
        shifted = torch.from_numpy(got["log_prob"]).double() - scale.log().sum()  # a constant: units of the bounds
        torch.testing.assert_close(shifted[inside], expected[inside], atol=1e-3, rtol=1e-3)


def test_a_squashed_policy_is_trained_and_its_first_ratios_are_1() -> None:
    network = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), action_bounds="squash")
    spec = spec_of(OBSERVATIONS, gym.spaces.Box(-3, 3, (1,)))
    trainer = Trainer(spec, ppo=PPO, network=network, seed=1, total_steps=1000)
    before = trainer.tensors()
    report = trainer.update(batch_for(trainer))
    assert report.first_pass_ratio_error < 1e-5
    assert report.policy_std > 0
    assert not torch.equal(before["policy.log_std"], trainer.tensors()["policy.log_std"])


def test_heads_of_the_users_squash_by_themselves() -> None:
    with pytest.raises(UsageError, match=r"network\.head"):
        NetworkConfig(action_bounds="squash", head="my_nets:make_head")
