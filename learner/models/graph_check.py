"""The exported policy in onnxruntime against PyTorch, before an actor gets it. Knows graphs; knows no training.

Observations are random, of every leaf's own kind, and more rows than the graph was traced with.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dppo.learner.models.forward_check import check_forward
from dppo.learner.models.heads import ActionHead, BetaHead
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.models.onnx_export import PolicyExporter, output_names
from dppo.learner.models.tracing_remarks import why_it_differs
from dppo.learner.own_code import in_a_line
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Leaf, Spec

ROWS = 7
TOLERANCE = 1e-4  # times the number, where that is above 1
ROUNDINGS = 64  # units in the last place of the terms that a log-prob is summed from
LACKS_OPERATOR = "NOT_IMPLEMENTED"  # in onnxruntime's words
NAN_ADVICE = "not a number (NaN): look for a division by 0, or a logarithm or a root of what may be 0 or below"
LEAST_ALIKE = 0.5  # of the rows: choices may differ where two are as good but for rounding
ADVICE = (
    "tracing fixes what depends on values (an `if` on a tensor, a random number, a Python number of one), "
    "and operations may mean something else there"
)


def check_export(exporter: PolicyExporter, policy: PolicyNetwork, spec: Spec) -> None:
    """Raise UsageError where the policy cannot be trained, or onnxruntime cannot run it or computes something else.

    The last layer begins so small that hardly an action depends on the observation: a copy with a larger one is tried.
    """
    tried = copy.deepcopy(policy).cpu()
    last = list(tried.body.children())[-1:]
    if last and isinstance(last[0], nn.Linear):
        with torch.no_grad():
            last[0].weight.div_(last[0].weight.norm(dim=1).mean().clamp(1e-6, 1.0))
    try:
        check_graph(exporter.graph_of(tried, 0), tried, spec)
    except UsageError as error:
        reason = why_it_differs(exporter.remarks)
        if not reason or LACKS_OPERATOR in str(error):
            raise
        raise UsageError(f"{reason} ({str(error).partition(': ')[0]})") from error
    check_forward(tried, random_inputs(tried, spec, np.random.default_rng(0)))


def check_graph(graph: bytes, policy: PolicyNetwork, spec: Spec) -> None:
    """Raise UsageError where onnxruntime computes something else than this very policy, which is on the CPU."""
    inputs = random_inputs(policy, spec, np.random.default_rng(0))
    names = output_names(spec)
    with torch.no_grad():
        expected = dict(zip(names, (tensor.numpy() for tensor in policy(*inputs)), strict=True))
        rows = policy.layout.rows({leaf.name: torch.from_numpy(expected[leaf.name]) for leaf in spec.action})
        terms = policy.distribution_of(inputs[:-1]).terms(rows).numpy()
    feed = {name: tensor.numpy() for name, tensor in zip(policy.inputs, inputs, strict=True)}
    try:
        computed = dict(zip(names, _session(graph).run(names, feed), strict=True))
    except Exception as error:  # onnxruntime's errors have no common base class of their own
        raise UsageError(f"onnxruntime, with which actors act, cannot run the policy: {in_a_line(error)}") from error
    alike = np.ones(ROWS, bool)
    decided = _decided_by_rounding(policy, spec)
    for name in names:
        if np.isnan(expected[name]).any():
            raise UsageError(f"the policy computes a {name} of random observations that is {NAN_ADVICE}")
        _check_looks(name, computed[name], expected[name])
        if expected[name].dtype.kind != "f" or name in decided:
            is_same = computed[name] == expected[name]
            if name in decided:
                is_same |= np.isclose(computed[name], expected[name], TOLERANCE, TOLERANCE)
            alike &= is_same.reshape(ROWS, -1).all(axis=1)
            if alike.mean() < LEAST_ALIKE:
                raise UsageError(f"the exported policy gives another {name} in onnxruntime than in PyTorch: {ADVICE}")
    for name in names:
        if expected[name].dtype.kind == "f":
            least = ROUNDINGS * np.finfo(np.float32).eps * terms if name == "log_prob" else 0.0
            _check_numbers(name, computed[name][alike], expected[name][alike], np.broadcast_to(least, ROWS)[alike])


def _decided_by_rounding(policy: PolicyNetwork, spec: Spec) -> set[str]:
    """Names of float outputs of which rounding may make another number: samples by rejection of a Beta distribution."""
    rejects = isinstance(policy.head, ActionHead) and isinstance(policy.head.of_numbers, BetaHead)
    return {leaf.name for leaf in spec.action if leaf.kind == "box"} if rejects else set()


def random_inputs(policy: PolicyNetwork, spec: Spec, rng: np.random.Generator) -> list[Tensor]:
    """Observation leaves [ROWS, *shape] of every kind, mask and state where there are, and noise [ROWS, n]."""
    leaves = [torch.from_numpy(_leaf(leaf, rng)) for leaf in spec.observation]
    masks = [torch.from_numpy(_mask(policy.layout.choices, rng)) for _ in spec.mask]
    states = [torch.from_numpy(_leaf(leaf, rng)) for leaf in spec.state]
    resets = [torch.from_numpy(np.arange(ROWS) % 2 == 1) for _ in spec.state[:1]]
    return [
        *leaves,
        *masks,
        *states,
        *resets,
        torch.from_numpy(rng.gumbel(size=(ROWS, policy.outputs)).astype(np.float32)),
    ]


def _mask(choices: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Flags [ROWS, size], about half of them set, of which each element has a legal choice."""
    parts = [rng.random((ROWS, count)) < 0.5 for count in choices]
    for part in parts:
        part[np.arange(ROWS), rng.integers(0, part.shape[1], ROWS)] = True
    return np.concatenate(parts, 1)


def _leaf(leaf: Leaf, rng: np.random.Generator) -> np.ndarray:
    shape = (ROWS, *leaf.shape)
    numbers: np.ndarray
    if leaf.kind == "discrete":
        numbers = rng.integers(leaf.start, leaf.start + leaf.categories, shape)
    elif leaf.kind == "multi_discrete":
        first, last = (np.reshape(values, leaf.shape) for values in (leaf.first_values, leaf.last_values))
        numbers = rng.integers(first, last + 1, shape)
    elif leaf.kind == "multi_binary" or leaf.dtype == "|b1":
        numbers = rng.integers(0, 2, shape)
    elif leaf.dtype.startswith("<f"):
        numbers = rng.normal(0.0, 2.0, shape)
    else:
        limits = np.iinfo(leaf.dtype)
        numbers = rng.integers(max(-128, limits.min), 1 + min(255, limits.max), shape)
    return numbers.astype(leaf.dtype)


def _session(graph: bytes) -> Any:
    import onnxruntime as ort  # 25 ms, which only a start takes

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # it raises what it logs
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _check_looks(name: str, computed: np.ndarray, expected: np.ndarray) -> None:
    if computed.shape != expected.shape or computed.dtype != expected.dtype:
        raise UsageError(
            f"the exported policy gives {name} as {computed.dtype}{computed.shape} in onnxruntime, and as "
            f"{expected.dtype}{expected.shape} in PyTorch, for {len(expected)} observations: {ADVICE}"
        )


def _check_numbers(name: str, computed: np.ndarray, expected: np.ndarray, least: np.ndarray) -> None:
    """computed, expected: [n, ...]; least [n]: differences of a row that are rounding in any case."""
    limit = np.maximum(TOLERANCE * np.maximum(1.0, np.abs(expected)), least.reshape(-1, *[1] * (expected.ndim - 1)))
    with np.errstate(invalid="ignore"):
        wrong = ~((computed == expected) | (np.abs(computed - expected) <= limit))  # equal infinities, and NaN is wrong
    if wrong.any():
        place = np.unravel_index(int(np.nanargmax(np.where(wrong, np.abs(computed - expected), -1.0))), wrong.shape)
        raise UsageError(
            f"the exported policy computes another {name} in onnxruntime than PyTorch: {computed[place]:.6g} instead "
            f"of {expected[place]:.6g}: {ADVICE}"
        )
