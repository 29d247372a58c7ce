"""PyTorch's newer way to ONNX, which knows operators that tracing does not. Takes seconds, and needs onnxscript.

Imported only where tracing has failed.
"""

import importlib.util
import logging
import warnings
from collections.abc import Mapping, Sequence

import torch
from onnx import GraphProto, ModelProto
from torch import Tensor, nn

from dppo.protocol.errors import UsageError

NEEDED = "onnxscript"
OPSET = 18  # the least that it writes; read by every onnxruntime since 1.14
IR_VERSION = 8  # of ONNX, as opset 18 began with: what later ones may hold beside is taken out


def is_installed() -> bool:
    """Whether there is what this way needs."""
    return importlib.util.find_spec(NEEDED) is not None


def export_again(
    policy: nn.Module, examples: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> ModelProto:
    """Return the module as a graph, its tensors by the names of its state.

    examples: inputs of three rows, a number that nothing else has. Raises UsageError where onnxscript is not installed,
    and whatever PyTorch raises.
    """
    if not is_installed():
        raise UsageError(f"{NEEDED} is not installed, which it needs: pip install {NEEDED}")
    rows = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it says which packages it has no use for
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(policy, examples, dynamic_shapes=(rows,))
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=inputs,
                output_names=outputs,
                optimize=False,  # folding would hide weights in constants
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert exported is not None, "a file was not asked for"
    model: ModelProto = exported.model_proto
    _bare(model)
    _by_their_names(model.graph, _names_of_constants(program, policy))
    return model


def innermost(error: BaseException) -> BaseException:
    """Return what an error was caused by in the end: those around it give advice on the exporter's own code."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _bare(model: ModelProto) -> None:
    """Take out notes on where each node comes from, of which most of the graph's bytes are."""
    model.ir_version = IR_VERSION
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    del graph.value_info[:]


def _names_of_constants(program: torch.export.ExportedProgram, policy: nn.Module) -> dict[str, str]:
    """Return names in the policy's state by those of constants that are the same memory: parameters in a tuple."""
    own = {(tensor.data_ptr(), tensor.shape): name for name, tensor in policy.state_dict().items()}
    constants = {name: tensor for name, tensor in program.constants.items() if isinstance(tensor, Tensor)}
    found = {name: own.get((tensor.data_ptr(), tensor.shape)) for name, tensor in constants.items()}
    return {name: known for name, known in found.items() if known is not None and known != name}


def _by_their_names(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Rename initializers; of several that get the same name the first one is kept."""
    kept = {initializer.name for initializer in graph.initializer} - set(names)
    for index in reversed(range(len(graph.initializer))):
        name = names.get(graph.initializer[index].name)
        if name in kept:
            del graph.initializer[index]
        elif name is not None:
            graph.initializer[index].name = name
            kept.add(name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
