"""The check of the first pass: rounding never alarms, other weights do."""

from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from dppo.learner.models.distributions import Categorical, Distribution, Gaussian
from dppo.learner.ppo.checks import first_pass
from dppo.learner.ppo.rows import Rows

ROWS = 512


def layers(seed: int, widths: tuple[int, ...], gain: float) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=shape).astype(np.float32) / np.float32(np.sqrt(shape[0])) for shape in pairwise(widths)]
    return [*weights[:-1], np.float32(gain) * weights[-1]]


def acted(weights: list[np.ndarray], observations: np.ndarray) -> np.ndarray:
    """As an actor does: ONNX Runtime, eight rows at a time."""
    nodes, name = [], "x"
    for index in range(len(weights)):
        nodes.append(helper.make_node("MatMul", [name, f"w{index}"], [f"m{index}"]))
        name = f"m{index}"
        if index < len(weights) - 1:
            nodes.append(helper.make_node("Tanh", [name], [f"h{index}"]))
            name = f"h{index}"
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["E", observations.shape[1]])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["E", weights[-1].shape[1]])],
        [numpy_helper.from_array(weight, f"w{index}") for index, weight in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    parts = [session.run([name], {"x": observations[i : i + 8]})[0] for i in range(0, len(observations), 8)]
    return np.concatenate(parts)


def learnt(weights: list[np.ndarray], observations: np.ndarray) -> torch.Tensor:
    outputs = torch.from_numpy(observations)
    for index, weight in enumerate(weights):
        outputs = outputs @ torch.from_numpy(weight)
        outputs = outputs.tanh() if index < len(weights) - 1 else outputs
    return outputs


def excess(distribution: Distribution, actions: torch.Tensor, log_probs: torch.Tensor) -> float:
    n = len(actions)
    empty = torch.zeros(n)
    rows = Rows(
        {},
        torch.arange(len(actions)),
        torch.zeros(len(actions), 1),
        actions,
        log_probs,
        empty,
        empty,
        empty,
        torch.zeros(len(actions), 0),
    )
    checked = first_pass(distribution, rows, np.zeros(n, np.int64), ("h0",))
    assert checked.plausible.all() or checked.excesses["h0"] > 1
    return checked.excesses["h0"]


def gaussian_excess(
    observations: int, width: int, actions: int, log_std: float, gain: float, drift: float = 0.0, seed: int = 0
) -> float:
    weights = layers(seed, (observations, width, width, actions), gain)
    rng = np.random.default_rng(seed + 1)
    seen = rng.normal(size=(ROWS, observations)).astype(np.float32).clip(-10, 10)
    std = torch.full((actions,), log_std)
    acting = Gaussian(torch.from_numpy(acted(weights, seen)), std)
    taken = acting.sample(torch.from_numpy(rng.normal(size=(ROWS, actions)).astype(np.float32)))
    other = [weight + np.float32(drift) * layers(seed + 2, weight.shape, 1.0)[0] for weight in weights]
    return excess(Gaussian(learnt(other, seen), std), taken, acting.log_prob(taken))


@pytest.mark.fast(3)
@pytest.mark.parametrize("log_std", [0.0, -1.0, -2.0, -3.0, -5.0, 2.0])
@pytest.mark.parametrize("gain", [0.01, 1.0, 3.0, 30.0])
@pytest.mark.parametrize(("observations", "width", "actions"), [(3, 64, 1), (17, 64, 6), (376, 256, 17)])
def test_rounding_never_alarms(observations: int, width: int, actions: int, log_std: float, gain: float) -> None:
    for seed in range(2):
        assert gaussian_excess(observations, width, actions, log_std, gain, seed=seed) < 0.7


@pytest.mark.parametrize("log_std", [0.0, -1.0, -3.0])
@pytest.mark.parametrize(("observations", "width", "actions"), [(3, 64, 1), (17, 64, 6), (376, 256, 17)])
def test_other_weights_alarm(observations: int, width: int, actions: int, log_std: float) -> None:
    """By as little as one step of Adam at 3e-4 moves them."""
    assert gaussian_excess(observations, width, actions, log_std, 1.0, drift=3e-3) > 2


@pytest.mark.parametrize("gain", [0.01, 1.0, 30.0, 300.0])
def test_rounding_of_a_categorical_policy_never_alarms(gain: float) -> None:
    weights = layers(0, (100, 256, 256, 18), gain)
    rng = np.random.default_rng(1)
    seen = rng.normal(size=(ROWS, 100)).astype(np.float32)
    acting = Categorical(torch.from_numpy(acted(weights, seen)).log_softmax(-1))
    taken = acting.sample(torch.from_numpy(rng.gumbel(size=(ROWS, 18)).astype(np.float32)))
    learning = Categorical(learnt(weights, seen).log_softmax(-1))
    assert excess(learning, taken, acting.log_prob(taken)) < 0.7
    drifted = Categorical((learnt(weights, seen) + 0.01 * gain * torch.randn(ROWS, 18)).log_softmax(-1))
    assert excess(drifted, taken, acting.log_prob(taken)) > 1 or gain < 0.1
