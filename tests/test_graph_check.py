"""What actors would run is what PyTorch computes, for every kind of leaf; else the run is refused, with a reason."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from acting_envs import DEEP
from gymnasium import spaces
from torch import Tensor, nn

from dppo.learner.config import NetworkConfig
from dppo.learner.models.building import build_networks
from dppo.learner.models.graph_check import check_export, check_graph, random_inputs
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec, spec_of

OBSERVATIONS = spaces.Dict(
    numbers=spaces.Box(-np.inf, np.inf, (3,)),
    integers=spaces.Box(-128, 127, (2, 2), np.int8),
    picture=spaces.Box(0, 255, (36, 40, 3), np.uint8),
    flags=spaces.MultiBinary(2),
    choice=spaces.Discrete(4, start=-2),
    choices=spaces.MultiDiscrete([2, 3], start=[5, 0]),
    bools=spaces.Box(0, 1, (2,), np.bool_),
)
ACTIONS: dict[str, gym.Space[Any]] = {
    "box": spaces.Box(-1e6, 1e6, (3,)),
    "choice": spaces.Discrete(3, start=2),
    "choices": spaces.MultiDiscrete([2, 400], start=[1, 0]),
    "all": DEEP,
}


def made(action: gym.Space[Any], **network: Any) -> tuple[PolicyNetwork, Spec]:
    spec = spec_of(OBSERVATIONS, action)
    policy, _ = build_networks(spec, NetworkConfig(policy_hidden=(16,), action_bounds="rescale", **network), 1)
    return policy, spec


def check(policy: PolicyNetwork, spec: Spec) -> None:
    check_export(PolicyExporter(policy, spec), policy, spec)


class Doubled(nn.Module):
    """Another network's features, changed by `change` in training and in the trace."""

    def __init__(self, encoder: nn.Module, change: Any) -> None:
        super().__init__()
        self.encoder, self.change = encoder, change

    def forward(self, *leaves: Tensor) -> Tensor:
        return self.change(self.encoder(*leaves))


@pytest.mark.parametrize("action", ACTIONS)
def test_every_kind_of_leaf_passes(action: str) -> None:
    check(*made(ACTIONS[action], embedding=3, layer_norm=True, encoder_hidden=(8,)))


def test_random_observations_are_within_their_leaves() -> None:
    policy, spec = made(ACTIONS["box"])
    *leaves, _ = random_inputs(policy, spec, np.random.default_rng(1))
    space = OBSERVATIONS
    for leaf, tensor in zip(spec.observation, leaves, strict=True):
        part = space[leaf.name.removeprefix("observation.")]
        for row in tensor.numpy():
            assert part.contains(row if part.shape else int(row)), leaf.name
    assert {str(tensor.dtype) for tensor in leaves} > {"torch.uint8", "torch.int64", "torch.bool", "torch.float32"}


WHERE = r"{} in test_graph_check\.py:\d+"


def test_what_tracing_has_fixed_is_refused_with_the_output_s_name() -> None:
    policy, spec = made(ACTIONS["choice"])

    def shifted(features: Tensor) -> Tensor:
        return features.sin() + float(features.sin().mean())

    policy.encoder = Doubled(policy.encoder, shifted)
    with pytest.raises(UsageError, match=WHERE.format("a tensor becomes a Python float")) as caught:
        check(policy, spec)
    assert "(the exported policy computes another log_prob in onnxruntime than PyTorch)" in str(caught.value)


LEAVING = {
    "if": (lambda x: x if (x[0] - x[1]).abs().sum() == 0 else -x, "a tensor becomes a Python boolean"),
    "NumPy": (lambda x: x + torch.from_numpy(np.sin(x.detach().numpy())), "a tensor becomes a NumPy array"),
    "NumPy with gradients": (
        lambda x: torch.from_numpy(np.sin((x * x.new_ones(1).requires_grad_()).numpy())),
        "a tensor becomes a NumPy array",
    ),
    "a loop": (lambda x: torch.stack([row if row[0] > 0 else -row for row in x]), "a loop goes over a tensor"),
    "a list": (lambda x: x + torch.tensor(x.tolist()), "a tensor becomes a Python list"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LEAVING)
def test_a_network_that_leaves_pytorch_is_refused_with_the_place_in_its_code(case: str) -> None:
    function, words = LEAVING[case]
    policy, spec = made(ACTIONS["choice"])
    policy.encoder = Doubled(policy.encoder, function)
    with pytest.raises(UsageError, match=WHERE.format(words)) as caught:
        check(policy, spec)
    assert "compute with tensors alone" in str(caught.value)
    assert "INVALID" not in str(caught.value)
    assert "detach()" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_warning_that_does_not_matter_hides_no_other_reason() -> None:
    policy, spec = made(ACTIONS["box"])

    def lacking(features: Tensor) -> Tensor:
        assert features.isfinite().all()
        return features + features.to(torch.int16).relu()

    policy.encoder = Doubled(policy.encoder, lacking)
    with pytest.raises(UsageError, match=r"^onnxruntime, with which actors act, cannot run .*implementation for Relu"):
        check(policy, spec)


def test_an_action_of_another_sign_is_refused() -> None:
    policy, spec = made(ACTIONS["box"])
    graph = PolicyExporter(policy, spec).graph_bytes(1)
    with torch.no_grad():
        policy.body[-1].weight.mul_(-1)
    with pytest.raises(UsageError, match="computes another action in onnxruntime"):
        check_graph(graph, policy, spec)


def test_a_number_of_rows_that_tracing_has_fixed_is_refused() -> None:
    policy, spec = made(ACTIONS["box"])
    policy.encoder = Doubled(policy.encoder, lambda features: features + torch.zeros(len(features), 1))
    with pytest.raises(UsageError, match=r"onnxruntime, with which actors act, cannot run the policy: "):
        check(policy, spec)


@pytest.mark.slow
def test_an_operation_without_an_export_is_refused_with_the_exporter_s_reason() -> None:
    policy, spec = made(ACTIONS["box"])
    policy.encoder = Doubled(policy.encoder, lambda features: torch.special.i1(features))
    with pytest.raises(UsageError, match=r"PyTorch cannot export the policy to ONNX: .*special_i1"):
        check(policy, spec)


def test_an_operation_that_onnxruntime_lacks_is_refused_by_its_name() -> None:
    policy, spec = made(ACTIONS["box"])
    policy.encoder = Doubled(policy.encoder, lambda features: features + features.to(torch.int16).relu())
    with pytest.raises(UsageError, match=r"onnxruntime, with which actors act, cannot run .*implementation for Relu"):
        check(policy, spec)


def test_weights_that_no_action_depends_on_are_refused() -> None:
    policy, spec = made(ACTIONS["box"])
    policy.encoder.register_parameter("unused", nn.Parameter(torch.ones(2)))
    with pytest.raises(UsageError, match=r"has no weights encoder\.unused"):
        check(policy, spec)


def test_buffers_that_no_action_depends_on_are_not() -> None:
    policy, spec = made(ACTIONS["box"])
    policy.encoder.register_buffer("calls", torch.zeros((), dtype=torch.int64))
    check(policy, spec)
