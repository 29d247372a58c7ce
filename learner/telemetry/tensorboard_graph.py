"""Policy and critic as a picture for TensorBoard's Graphs tab. Knows PyTorch's traces; knows no training and no file.

Made by hand out of the trace, which takes a twentieth of what torch.utils.tensorboard's way takes (0.7 s of processor
time), and shows layers, parameters and operations only, not the trace's tuples and constants.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.models.onnx_export import example_inputs, output_names
from dppo.protocol.recurrent_state import RESET, STATE, with_state
from dppo.protocol.specs import Spec

_ROWS = 2  # of the example; shown as the number that is free


class _Both(nn.Module):
    """Policy as an actor runs it, and the learner's value of the same observation."""

    def __init__(self, policy: PolicyNetwork, critic: CriticNetwork) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        acted = self.policy(*inputs)
        encoder = self.policy.encoder if self.critic.encoder is None else self.critic.encoder
        named = dict(zip(self.policy.inputs, inputs, strict=True))
        features = encoder(*self.policy.seen(named).values())
        if self.policy.memory is not None:
            features, _ = self.policy.memory(features, named[STATE], named[RESET])
        value: Tensor = self.critic(features)
        return *acted, value


@torch.no_grad()
def network_graph(policy: PolicyNetwork, critic: CriticNetwork, spec: Spec) -> bytes:
    """A serialised tensorflow.GraphDef of both networks. Raises RuntimeError where they cannot be traced."""
    both = _Both(policy, critic)
    spec = with_state(spec, 0 if policy.memory is None else policy.memory.size, policy.frame_leaves)
    device = next(critic.parameters()).device
    inputs = tuple(tensor.to(device) for tensor in example_inputs(policy, spec, rows=_ROWS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing as such, and of what it fixes of a user's network
        traced: Any = torch.jit.trace(both, inputs, check_trace=False)  # type: ignore[no-untyped-call]
    return _Drawing(both).draw(traced.inlined_graph, policy.inputs, [*output_names(spec), "value"])


class _Drawing:
    """Named nodes from the values of a trace."""

    def __init__(self, module: nn.Module) -> None:
        from tensorboard.compat.proto.graph_pb2 import GraphDef

        self._graph = GraphDef()
        self._graph.versions.producer = 22
        self._shown = dict(_shown_paths(module))
        self._names: dict[str, str] = {}  # node that makes a value; none for constants
        self._constants: dict[str, str] = {}  # as text
        self._modules: dict[str, str] = {}  # path of the submodule that a value is
        self._parts: dict[str, list[str]] = {}  # values that a tuple or list is made of
        self._used: dict[str, int] = {}
        self._drawn: dict[tuple[str, ...], str] = {}  # node by what it computes: the critic's encoder is the policy's

    def draw(self, graph: Any, names: Sequence[str], outputs: Sequence[str]) -> bytes:
        """All nodes of the trace's graph, serialised."""
        module, *inputs = graph.inputs()
        self._modules[module.debugName()] = ""
        for name, value in zip(names, inputs, strict=True):
            self._add(name, "Input", value, [])
        for node in graph.nodes():
            self._read(node)
        (result,) = graph.outputs()
        for name, part in zip(outputs, self._parts[result.debugName()], strict=True):
            self._add(name, "Output", None, [part])
        serialised: bytes = self._graph.SerializeToString()
        return serialised

    def _read(self, node: Any) -> None:
        kind, outputs = node.kind(), list(node.outputs())
        sources = [value.debugName() for value in node.inputs()]
        if kind == "prim::GetAttr":
            path = f"{self._modules[sources[0]]}.{_attribute(node)}".lstrip(".")
            if outputs[0].type().kind() == "ClassType":
                self._modules[outputs[0].debugName()] = path
            else:
                owner, _, name = path.rpartition(".")
                self._add(f"{self._shown[owner]}/{name}", "Parameter", outputs[0], [])
        elif kind in ("prim::TupleConstruct", "prim::ListConstruct"):
            self._parts[outputs[0].debugName()] = sources
        elif kind in ("prim::TupleUnpack", "prim::ListUnpack"):
            parts = self._parts.get(sources[0], sources * len(outputs))  # an operation may return a tuple
            for output, source in zip(outputs, parts, strict=True):
                self._names[output.debugName()] = self._names.get(source, "")
        elif kind == "prim::Constant":
            self._constants[outputs[0].debugName()] = repr(outputs[0].toIValue())
        elif kind == "aten::to":  # of the dtype that it has, mostly
            self._names[outputs[0].debugName()] = self._names.get(sources[0], "")
        else:
            operation = kind.rpartition("::")[2]
            scope = self._shown.get(node.scopeName().rpartition("/")[2].removeprefix("__module."), "")
            for output in outputs:
                self._add(f"{scope}/{operation}".lstrip("/"), operation, output, sources)

    def _add(self, name: str, operation: str, value: Any, sources: list[str]) -> None:
        flat = [part for source in sources for part in self._parts.get(source, [source])]
        what = (name, operation, *(self._names.get(source) or self._constants.get(source, "") for source in flat))
        if value is not None and what in self._drawn:
            self._names[value.debugName()] = self._drawn[what]
            return
        count = self._used[name] = self._used.get(name, 0) + 1
        name = self._drawn[what] = name if count == 1 else f"{name}_{count - 1}"
        made_by = [self._names[source] for source in flat if self._names.get(source)]
        node = self._graph.node.add(name=name, op=operation, input=made_by)
        if value is not None:
            self._names[value.debugName()] = name
            sizes = value.type().sizes() if value.type().kind() == "TensorType" else None
            if sizes is not None:
                shape = node.attr["_output_shapes"].list.shape.add()
                for axis, size in enumerate(sizes):
                    free = axis == 0 and operation != "Parameter" and size == _ROWS
                    shape.dim.add(size=-1 if free else size)


def _shown_paths(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Path of every submodule and its name in the picture: `body.0`, a linear layer, is `body/Linear_0`."""
    names = {"": ""}
    for path, member in module.named_modules():
        parent, _, name = path.rpartition(".")
        shown = f"{type(member).__name__}_{name}" if name.isdecimal() else name
        names[path] = f"{names[parent]}/{shown}".lstrip("/")
        yield path, names[path]


def _attribute(node: Any) -> str:
    name: str = node.s("name")
    return name
