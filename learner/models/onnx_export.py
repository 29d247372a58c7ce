"""The policy as ONNX bytes: exported once, then only its weights are swapped. Knows torch.onnx; knows no training."""

import copy
import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from onnx import ModelProto, TensorProto
from torch import Tensor

from dppo.learner.models.action_layout import env_name
from dppo.learner.models.encoders import example_leaf
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.models.tracing_remarks import remarks_of, why_it_fails
from dppo.learner.own_code import in_a_line
from dppo.protocol.errors import UsageError
from dppo.protocol.recurrent_state import NEXT
from dppo.protocol.specs import Spec, spec_to_json

CONSTANT_WITH_GRADIENT = "requires grad as a constant"  # in PyTorch's words
LISTED_LAYERS = (
    "layers or tensors in a plain list, dict or attribute are no part of a module, and would not be trained: use "
    "nn.ModuleList, nn.ModuleDict or nn.Parameter: "
)
FAILED = "PyTorch cannot export the policy to ONNX: "
GROUP_ROWS = 8
OPSET = 17  # read by every onnxruntime since 1.12


class PolicyExporter:
    """One graph for the life of a learner.

    Inputs: each leaf of the observation [E, *shape] by name, in its wire dtype; the mask of actions bool [E, size] by
    name (action_mask), where the spec has one; with a memory `state` [E, s] float32; with stacked frames those before
    the observation, `frames` [E, k - 1, *shape] of each such leaf; with either `reset` [E] bool; and `noise` [E, n]
    float32. Outputs as in PolicyNetwork.forward: each leaf of the action by name, the same as `env_action`, `log_prob`,
    and `next_state` and `next_frames` where there are those; E is free. The metadata say how to feed it: `dppo.noise`
    (normal, gumbel, or parts of both), `dppo.version`, `dppo.spec` (JSON).
    """

    def __init__(self, policy: PolicyNetwork, spec: Spec) -> None:
        self._policy = policy
        model, self.remarks = _exported(policy, spec)  # remarks: what tracing may have fixed
        indices = {initializer.name: index for index, initializer in enumerate(model.graph.initializer)}
        initializers = {initializer.name: initializer for initializer in model.graph.initializer}
        self._names = _swapped(policy, initializers)
        tensors = policy.state_dict()
        for name in self._names:
            _slot(initializers, name, tensors[name]).ClearField("raw_data")
        self._slots = [indices[name] for name in self._names]  # of the initializer that holds each tensor
        metadata = {"dppo.noise": policy.noise, "dppo.version": "", "dppo.spec": spec_to_json(spec)}
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        self._version = next(i for i, entry in enumerate(model.metadata_props) if entry.key == "dppo.version")
        self._template: bytes = model.SerializeToString()  # everything but weights and version

    def graph_bytes(self, version: int) -> bytes:
        """The graph with the policy's weights and normaliser of this moment."""
        return self.graph_of(self._policy, version)

    def graph_of(self, policy: PolicyNetwork, version: int) -> bytes:
        """The graph with the weights of another policy of the same parts."""
        # a new message each time: protobuf frees what a field held before only together with its whole message
        model = ModelProto.FromString(self._template)
        model.metadata_props[self._version].value = str(version)
        tensors = policy.state_dict()
        for index, name in zip(self._slots, self._names, strict=True):
            model.graph.initializer[index].raw_data = tensors[name].cpu().numpy().tobytes()
        graph: bytes = model.SerializeToString()
        return graph


def with_metadata(graph: bytes, entries: Mapping[str, str]) -> bytes:
    """Return the graph with more metadata. Messages of protobuf that stand one behind the other are one message."""
    more = ModelProto()
    for key, value in entries.items():
        more.metadata_props.add(key=key, value=value)
    added: bytes = more.SerializeToString()
    return graph + added


def group_metadata() -> bytes:
    """Return what stands behind a graph whose rows actors compute in groups of a fixed number."""
    return with_metadata(b"", {"dppo.group_rows": str(GROUP_ROWS)})


def _exported(policy: PolicyNetwork, spec: Spec) -> tuple[ModelProto, list[str]]:
    """Return a copy's graph, traced or, where that fails, by the newer exporter; and remarks of tracing.

    The copy's weights are all different: the exporters merge initializers that are equal, such as the zero biases of
    two layers, and two tensors that share one initializer could not be swapped apart any more.
    """
    policy = copy.deepcopy(policy).cpu().eval()
    for index, tensor in enumerate(policy.state_dict().values()):
        tensor.fill_(0.01 * (index + 1) if tensor.is_floating_point() else index)
    try:
        return _traced(policy, spec)
    except Exception as error:  # PyTorch's, or what a user's network raises
        if CONSTANT_WITH_GRADIENT in str(error):
            raise UsageError(f"{FAILED}{LISTED_LAYERS}{in_a_line(error)}") from error
        reason = why_it_fails(error)
        if reason:
            raise UsageError(f"{FAILED}{reason}") from error
        return _exported_again(policy, spec, in_a_line(error)), []


def _traced(policy: PolicyNetwork, spec: Spec) -> tuple[ModelProto, list[str]]:
    inputs = list(policy.inputs)
    file: Any = io.BytesIO()  # the annotation of `export` knows the newer exporter's arguments only
    with _without_a_dump(), warnings.catch_warnings(record=True) as warned:
        # what it warns of in a user's network matters where graph_check finds that it does; and it says on every call
        # that it is the older one, but the newer one takes 6 s instead of 0.3 s
        warnings.simplefilter("always")
        torch.onnx.export(
            policy,
            example_inputs(policy, spec, rows=2),
            file,
            dynamo=False,
            opset_version=OPSET,
            do_constant_folding=False,  # folding exp(log_std) would hide log_std in a constant
            input_names=inputs,
            output_names=output_names(spec),
            dynamic_axes={name: {0: "E"} for name in [*inputs, *output_names(spec)]},
        )
    model: ModelProto = ModelProto.FromString(file.getvalue())
    return model, remarks_of(warned)


@contextmanager
def _without_a_dump() -> Iterator[None]:
    """Keep PyTorch from printing all of the graph where tracing fails: its switch for that has no effect (2.13)."""
    functions = vars(torch._C)
    dump = functions["_jit_onnx_log"]
    functions["_jit_onnx_log"] = lambda *texts: None
    try:
        yield
    finally:
        functions["_jit_onnx_log"] = dump


def _exported_again(policy: PolicyNetwork, spec: Spec, why_not_traced: str) -> ModelProto:
    from dppo.learner.models.second_export import export_again, innermost

    try:
        return export_again(policy, example_inputs(policy, spec, rows=3), policy.inputs, output_names(spec))
    except Exception as error:  # as above
        reason = str(error) if isinstance(error, UsageError) else in_a_line(innermost(error))
        raise UsageError(f"{FAILED}by tracing: {why_not_traced}; by torch.export: {reason}") from error


def output_names(spec: Spec) -> list[str]:
    """Names of what PolicyNetwork.forward returns, in its order."""
    after = [NEXT + leaf.name for leaf in spec.state]
    return [*(leaf.name for leaf in spec.action), *map(env_name, spec.action), "log_prob", *after]


def example_inputs(policy: PolicyNetwork, spec: Spec, *, rows: int) -> tuple[Tensor, ...]:
    """(observation leaves [rows, *shape], mask, state, frames, reset, noise [rows, n]) to trace with, on the CPU."""
    leaves = [example_leaf(leaf, rows) for leaf in spec.observation]
    masks = [torch.ones((rows, *leaf.shape), dtype=torch.bool) for leaf in spec.mask]
    states = [example_leaf(leaf, rows) for leaf in spec.state]
    resets = [torch.zeros(rows, dtype=torch.bool) for _ in spec.state[:1]]
    return *leaves, *masks, *states, *resets, torch.zeros(rows, policy.outputs)


def _swapped(policy: PolicyNetwork, initializers: Mapping[str, TensorProto]) -> list[str]:
    """Names of the tensors that the graph holds. Buffers may lack, since nothing trains them; parameters may not."""
    parameters = dict(policy.named_parameters())
    return [name for name in policy.state_dict() if name in initializers or name in parameters]


def _slot(initializers: dict[str, TensorProto], name: str, tensor: Tensor) -> TensorProto:
    """The initializer that holds `tensor`. Raises where the exporter folded, merged or transposed it."""
    initializer = initializers.get(name)
    if initializer is None:
        raise UsageError(
            f"the exported policy has no weights {name}, only {', '.join(sorted(initializers)[:20])}: no action "
            "depends on them, or the exporter changed them on the way. Leave them out, or use a version of torch that "
            "the tests passed with"
        )
    shape = tuple(initializer.dims)
    if shape != tuple(tensor.shape) or len(initializer.raw_data) != tensor.nbytes:
        raise UsageError(
            f"the exported policy has weights {name} of shape {shape} (type {initializer.data_type}), not "
            f"{tuple(tensor.shape)} of {tensor.dtype}: the exporter changed them"
        )
    return initializer
