"""Tiny policy graphs with the learner's metadata, small enough to be recomputed by hand."""

import math

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper


def gaussian_graph(weights: np.ndarray, log_std: np.ndarray, bound: float = 2.0, version: int = 1) -> bytes:
    """Normal(observation @ weights, exp(log_std)); the environment gets the action clipped to +-bound."""
    constants = {
        "weights": weights.astype(np.float32),
        "std": np.exp(log_std).astype(np.float32),
        "low": np.float32(-bound),
        "high": np.float32(bound),
        "half": np.float32(0.5),
        "axis": np.array([1]),
        "constant": np.float32(np.sum(log_std) + 0.5 * math.log(2 * math.pi) * len(log_std)),
    }
    nodes = [
        helper.make_node("MatMul", ["observation", "weights"], ["mean"]),
        helper.make_node("Mul", ["noise", "std"], ["deviation"]),
        helper.make_node("Add", ["mean", "deviation"], ["action"]),
        helper.make_node("Clip", ["action", "low", "high"], ["env_action"]),
        helper.make_node("Mul", ["noise", "noise"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "axis"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "half"], ["halved"]),
        helper.make_node("Add", ["halved", "constant"], ["surprise"]),
        helper.make_node("Neg", ["surprise"], ["log_prob"]),
    ]
    inputs = {"observation": (TensorProto.FLOAT, [weights.shape[0]]), "noise": (TensorProto.FLOAT, [weights.shape[1]])}
    action = (TensorProto.FLOAT, [weights.shape[1]])
    return _graph_bytes(nodes, constants, inputs, action, {"dppo.noise": "normal", "dppo.version": str(version)})


def categorical_graph(weights: np.ndarray, start: int = 0, version: int = 1) -> bytes:
    """Categorical(softmax(observation @ weights)); the environment gets the index plus `start`."""
    logits = helper.make_node("MatMul", ["observation", "weights"], ["logits"])
    return _choosing(logits, weights, (TensorProto.FLOAT, [weights.shape[0]]), start, version)


def tabular_graph(weights: np.ndarray, start: int = 0, version: int = 1) -> bytes:
    """Categorical(softmax(weights[observation])), for discrete observations."""
    logits = helper.make_node("Gather", ["weights", "observation"], ["logits"])
    return _choosing(logits, weights, (TensorProto.INT64, []), start, version)


def _choosing(
    logits: NodeProto, weights: np.ndarray, observation: tuple[int, list[int]], start: int, version: int
) -> bytes:
    constants = {"weights": weights.astype(np.float32), "start": np.int64(start), "axis": np.array([1])}
    nodes = [
        logits,
        helper.make_node("LogSoftmax", ["logits"], ["log_probs"], axis=1),
        helper.make_node("Add", ["log_probs", "noise"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["action"], axis=1, keepdims=0),
        helper.make_node("Add", ["action", "start"], ["env_action"]),
        helper.make_node("Unsqueeze", ["action", "axis"], ["index"]),
        helper.make_node("GatherElements", ["log_probs", "index"], ["chosen"], axis=1),
        helper.make_node("Squeeze", ["chosen", "axis"], ["log_prob"]),
    ]
    inputs = {"observation": observation, "noise": (TensorProto.FLOAT, [weights.shape[1]])}
    metadata = {"dppo.noise": "gumbel", "dppo.version": str(version)}
    return _graph_bytes(nodes, constants, inputs, (TensorProto.INT64, []), metadata)


def _graph_bytes(
    nodes: list[NodeProto],
    constants: dict[str, np.ndarray],
    inputs: dict[str, tuple[int, list[int]]],
    action: tuple[int, list[int]],
    metadata: dict[str, str],
) -> bytes:
    outputs = {"action": action, "env_action": action, "log_prob": (TensorProto.FLOAT, [])}
    puts = [
        [helper.make_tensor_value_info(name, kind, ["E", *shape]) for name, (kind, shape) in put.items()]
        for put in (inputs, outputs)
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "policy", puts[0], puts[1], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {**metadata, "dppo.spec": "{}"})
    return model.SerializeToString()
