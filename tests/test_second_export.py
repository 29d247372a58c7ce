"""PyTorch's two ways to ONNX: the second one where tracing fails, and the reasons of both where neither works."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import onnx
import pytest
import torch
from test_forward_check import SPEC as CHOICE
from torch import Tensor, nn

from dppo.learner.config import NetworkConfig
from dppo.learner.models import second_export
from dppo.learner.models.building import build_networks
from dppo.learner.models.graph_check import _session, check_export
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec, spec_of

NUMBERS = spec_of(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-1, 1, (2,)))
MIXED = spec_of(
    gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (3,)), "b": gym.spaces.Discrete(3, start=-1)}),
    gym.spaces.Dict({"x": gym.spaces.Box(-1, 1, (2,)), "y": gym.spaces.MultiDiscrete([2, 3])}),
)
needs_onnxscript = pytest.mark.skipif(
    importlib.util.find_spec("onnxscript") is None, reason="onnxscript is not installed (extra learner)"
)


class Through(nn.Module):
    """An encoder, and a function of its features behind a layer."""

    def __init__(self, encoder: nn.Module, features: int, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.layer, self.function = encoder, nn.Linear(features, features), function

    def forward(self, *leaves: Tensor) -> Tensor:
        return self.function(self.layer(self.inner(*leaves)))


class Listed(nn.Module):
    """Layers in a plain list, and an operator that tracing does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(3, 3)]

    def forward(self, observation: Tensor) -> Tensor:
        features: Tensor = self.layers[0](observation).asinh()
        return features


def policy_with(function: Callable[[Tensor], Tensor], spec: Spec) -> PolicyNetwork:
    policy, _ = build_networks(spec, NetworkConfig(policy_hidden=(8,), encoder_hidden=(6,)), 1)
    policy.encoder = Through(policy.encoder, policy.features, function)
    return policy


def test_without_what_the_second_way_needs_the_reason_of_the_first_is_there_and_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(second_export, "is_installed", lambda: False)
    with pytest.raises(UsageError) as caught:
        PolicyExporter(policy_with(torch.asinh, NUMBERS), NUMBERS)
    assert str(caught.value) == (
        "PyTorch cannot export the policy to ONNX: by tracing: UnsupportedOperatorError: Exporting the operator "
        "'aten::asinh' to ONNX opset version 17 is not supported; by torch.export: onnxscript is not installed, which "
        "it needs: pip install onnxscript"
    )


@pytest.mark.slow
def test_where_tracing_works_the_second_way_is_not_imported() -> None:
    program = (
        "import sys, gymnasium as gym\n"
        "from dppo.learner.config import NetworkConfig, PpoConfig\n"
        "from dppo.learner.ppo.trainer import Trainer\n"
        "from dppo.protocol.specs import spec_of\n"
        "spec = spec_of(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2))\n"
        "Trainer(spec, ppo=PpoConfig(), network=NetworkConfig(), seed=1, total_steps=1).check_graph()\n"
        "print([name for name in sys.modules if name in ('onnxscript', 'onnx_ir') or 'second_export' in name])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@needs_onnxscript
@pytest.mark.slow
@pytest.mark.parametrize("spec", [NUMBERS, CHOICE, MIXED], ids=["numbers", "choice", "mixed"])
def test_an_operator_that_tracing_does_not_know_is_exported_in_the_second_way(
    spec: Spec, capfd: pytest.CaptureFixture[str]
) -> None:
    policy = policy_with(torch.asinh, spec)
    exporter = PolicyExporter(policy, spec)
    check_export(exporter, policy, spec)
    graph = exporter.graph_bytes(3)
    assert b".py" not in graph, "notes on where nodes come from are left out"
    assert len(graph) < 20_000
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    assert {entry.key for entry in _model(graph).metadata_props} == {"dppo.noise", "dppo.version", "dppo.spec"}
    with torch.no_grad():
        for tensor in policy.state_dict().values():
            tensor.mul_(1.1)
    check_export(exporter, policy, spec)
    assert exporter.graph_bytes(3) != graph
    assert [put.name for put in _session(graph).get_inputs()] == list(policy.inputs)
    assert capfd.readouterr() == ("", "")


@needs_onnxscript
@pytest.mark.slow
def test_the_reasons_of_both_ways_are_quoted_where_neither_works() -> None:
    with pytest.raises(UsageError) as caught:
        PolicyExporter(policy_with(torch.special.i1, NUMBERS), NUMBERS)
    text = str(caught.value)
    assert "by tracing: UnsupportedOperatorError: Exporting the operator 'aten::special_i1'" in text
    assert "by torch.export: " in text.partition("special_i1")[2]
    assert "No ONNX function found for" in text.partition("by torch.export: ")[2]
    assert "\n" not in text
    assert len(text) < 900


@needs_onnxscript
@pytest.mark.slow
def test_layers_in_a_plain_list_are_refused_in_the_second_way_too() -> None:
    policy, _ = build_networks(NUMBERS, NetworkConfig(policy_hidden=(8,)), 1)
    policy.encoder = Listed()
    with pytest.raises(UsageError, match=r"plain list.* use nn\.ModuleList"):
        check_export(PolicyExporter(policy, NUMBERS), policy, NUMBERS)


def _model(graph: bytes) -> Any:
    return onnx.ModelProto.FromString(graph)
