"""The hand-written gradients against automatic differentiation, and that against PyTorch's own pieces."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from perceptrons import policy_for
from torch import Tensor

from dppo.learner.models.building import perceptron_critic
from dppo.learner.models.heads import GaussianHead
from dppo.learner.models.layers import Activation
from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.ppo.adam import FlatAdam
from dppo.learner.ppo.gradients import Gradients, KlPenalty, Outputs
from dppo.learner.ppo.gradients_analytic import AnalyticGradients
from dppo.learner.ppo.gradients_autograd import AutogradGradients
from dppo.learner.ppo.losses import surrogate_limits
from dppo.learner.ppo.rows import Rows
from dppo.protocol.specs import spec_of

ACTIONS = {"box": gym.spaces.Box(-1, 1, (2,)), "discrete": gym.spaces.Discrete(4)}


HEADS = {
    "linear free": GaussianHead(),
    "tanh free": GaussianHead(mean="tanh", mean_scale=2.0),
    "linear state": GaussianHead(std="state", std_floor=0.01),
    "tanh state": GaussianHead(mean="tanh", mean_scale=2.0, std="state", std_floor=0.01),
}
DISTRIBUTIONS = [*(("box", head) for head in HEADS), ("discrete", "linear free")]
PENALTIES = {"clip": None, "penalty": KlPenalty(0.7, 0.0, 0.005), "hinge": KlPenalty(0.7, 3.0, 0.005)}
EPSILON = 1e-5


def networks(
    action: gym.Space, hidden: tuple[int, ...], activation: Activation, head: GaussianHead = HEADS["linear free"]
) -> tuple[PolicyNetwork, CriticNetwork]:
    generator = torch.Generator().manual_seed(0)
    policy = policy_for(
        spec_of(gym.spaces.Box(-np.inf, np.inf, (3,)), action),
        hidden=hidden,
        activation=activation,
        initial_log_std=-0.3,
        action_bounds="clip",
        normalise_observations=False,
        generator=generator,
        numbers=head,
    )
    with torch.no_grad():  # the policy's small last layer would hide what is wrong in the layers below
        for parameter in policy.body.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return policy, perceptron_critic(3, hidden=hidden, activation=activation, generator=generator)


def random_rows(policy: PolicyNetwork, n: int, *, penalised: bool = False) -> Rows:
    generator = torch.Generator().manual_seed(1)
    features, advantages = torch.randn(n, 3, generator=generator), torch.randn(n, generator=generator)
    with torch.no_grad():
        distribution = policy.distribution(features)
        actions = distribution.sample(torch.randn(n, policy.outputs, generator=generator))
        old = distribution.log_prob(actions) + 0.3 * torch.randn(n, generator=generator)  # so that many are clipped
        old_rows = distribution.rows()
        old_rows = old_rows + 0.5 * torch.randn(old_rows.shape, generator=generator)
        if policy.layout.kind == "categorical":
            old_rows = old_rows.log_softmax(-1)
    return Rows(
        {},
        torch.arange(n),
        features,
        actions,
        old,
        advantages,
        torch.full((n,), torch.inf) if penalised else surrogate_limits(advantages, 0.2),
        torch.randn(n, generator=generator),
        old_rows if penalised else torch.empty(n, 0),
    )


def outputs_for(n: int) -> Outputs:
    return Outputs(torch.zeros(n), torch.zeros(n), torch.zeros(n), torch.zeros(n))


def assert_equal_gradients(
    policy: PolicyNetwork, critic: CriticNetwork, n: int, penalty: KlPenalty | None, entropy_coefficient: float = 0.0
) -> None:
    adam = FlatAdam([policy, critic], epsilon=EPSILON)
    coefficients = {"value_coefficient": 0.7, "entropy_coefficient": entropy_coefficient}
    rows = random_rows(policy, n, penalised=penalty is not None)

    def computed(gradients: Gradients) -> tuple[Tensor, Outputs]:
        adam.gradient.fill_(torch.nan)
        outputs = outputs_for(n)
        gradients.critic(rows, outputs)
        gradients.policy(rows, outputs, penalty)
        return adam.gradient.clone(), outputs

    expected, expected_outputs = computed(AutogradGradients(policy, critic, **coefficients))
    gradient, outputs = computed(AnalyticGradients(policy, critic, **coefficients))
    torch.testing.assert_close(gradient, expected, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(outputs, expected_outputs, atol=2e-6, rtol=1e-5)
    assert expected.isfinite().all()
    if penalty is not None:
        assert outputs.kls.mean().item() > 1.5 * penalty.hinge_from  # so that the hinge does something


@pytest.mark.parametrize(("action", "head"), DISTRIBUTIONS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("entropy_coefficient", [0.0, 0.1])
def test_the_written_gradients_equal_the_automatic_ones(
    action: str, head: str, penalty: str, entropy_coefficient: float
) -> None:
    for n in (50, 1, 49):
        policy, critic = networks(ACTIONS[action], (16, 8), "tanh", HEADS[head])
        assert_equal_gradients(policy, critic, n, PENALTIES[penalty], entropy_coefficient)


@pytest.mark.parametrize("activation", ["relu", "elu"])
@pytest.mark.parametrize("hidden", [(), (16,), (16, 8)])
def test_they_do_for_every_activation_and_depth(activation: Activation, hidden: tuple[int, ...]) -> None:
    for head in HEADS.values():
        assert_equal_gradients(*networks(ACTIONS["box"], hidden, activation, head), 20, PENALTIES["hinge"])


def test_each_network_has_its_gradient_by_itself() -> None:
    policy, critic = networks(ACTIONS["box"], (8,), "relu", HEADS["tanh state"])
    of_policy, of_critic = FlatAdam([policy], epsilon=EPSILON), FlatAdam([critic], epsilon=EPSILON)
    rows = random_rows(policy, 20)
    for way in (AutogradGradients, AnalyticGradients):
        gradients = way(policy, critic, value_coefficient=0.5, entropy_coefficient=0.0)
        for adam in (of_policy, of_critic):
            adam.gradient.fill_(7.0)
        gradients.critic(rows, outputs_for(20))
        assert (of_policy.gradient == 7.0).all()
        kept = of_critic.gradient.clone()
        gradients.policy(rows, outputs_for(20), None)
        assert torch.equal(of_critic.gradient, kept)
        assert (of_policy.gradient != 7.0).all()


@pytest.mark.parametrize(("action", "head"), DISTRIBUTIONS)
def test_the_penalised_gradient_is_the_slope_of_the_loss_recomputed_the_slow_way(action: str, head: str) -> None:
    policy, critic = networks(ACTIONS[action], (4,), "tanh", HEADS[head])
    in_single_precision = random_rows(policy, 6, penalised=True)
    rows = in_single_precision._replace(
        **{
            name: part.double()
            for name, part in in_single_precision._asdict().items()
            if isinstance(part, Tensor) and part.is_floating_point()
        }
    )
    features = rows.encoded(policy.encode)
    adam = FlatAdam([policy.double()], epsilon=EPSILON)

    def loss() -> float:
        new = policy.distribution(features)
        theirs: list[torch.distributions.Distribution] = []
        for parameters in (rows.old, new.rows()):
            if policy.layout.kind == "categorical":
                theirs.append(torch.distributions.Categorical(logits=parameters))
            else:
                mean, log_std = parameters[:, : policy.outputs], parameters[:, policy.outputs :]
                normal = torch.distributions.Normal(mean, log_std.exp())
                theirs.append(torch.distributions.Independent(normal, 1))
        kl = torch.distributions.kl_divergence(*theirs).mean().item()
        ratio = (theirs[1].log_prob(rows.actions) - rows.old_log_probs).exp()
        return -(ratio * rows.advantages).mean().item() + 0.7 * kl + 3.0 * max(0.0, kl - 0.005) ** 2

    outputs = Outputs(*(tensor.double() for tensor in outputs_for(6)))
    gradients = AutogradGradients(policy, critic, value_coefficient=0.5, entropy_coefficient=0.0)
    gradients.policy(rows, outputs, PENALTIES["hinge"])
    with torch.no_grad():
        for value, slope in zip(adam.values, adam.gradient.tolist(), strict=True):
            value += 1e-5
            above = loss()
            value -= 2e-5
            below = loss()
            value += 1e-5
            assert slope == pytest.approx((above - below) / 2e-5, abs=1e-6, rel=1e-5)


def test_the_flat_steps_equal_torchs_adam_with_its_gradient_clipping() -> None:
    def trained(step: str) -> list[Tensor]:
        policy, critic = networks(ACTIONS["box"], (8,), "tanh")
        parameters = [*policy.parameters(), *critic.parameters()]
        target, norm = torch.tensor([[1.0, -2.0]]), torch.zeros(())
        flat = FlatAdam([policy, critic], epsilon=EPSILON) if step == "flat" else None
        optimizer = torch.optim.Adam(parameters, lr=0.01, eps=EPSILON)
        for scale in (0.01, 1.0, 100.0):
            optimizer.zero_grad(set_to_none=False)
            loss = (policy.body(torch.ones(1, 3)) - target).square().sum() + critic(torch.ones(1, 3)).sum()
            (scale * (loss + policy.log_std.sum())).backward()
            if flat:
                flat.clip(0.5, norm)
                flat.step(0.01)
            else:
                torch.nn.utils.clip_grad_norm_(parameters, 0.5)
                optimizer.step()
        return [parameter.detach() for parameter in parameters]

    for ours, theirs in zip(trained("flat"), trained("torch"), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_written_gradients_need_a_place_to_write_to() -> None:
    policy, critic = networks(ACTIONS["box"], (8,), "tanh")
    with pytest.raises(ValueError, match="FlatAdam"):
        AnalyticGradients(policy, critic, value_coefficient=0.5, entropy_coefficient=0.0)
