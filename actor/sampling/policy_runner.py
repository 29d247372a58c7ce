"""Acts with the learner's ONNX graph. Knows onnxruntime and what goes in and out; knows no network and no torch.

Inputs: the leaves of observation and mask [E, ...] by name, and `noise` [E, n] float32; with a memory `state` [E, s]
float32, with stacked frames `frames` [E, k - 1, *shape] of each such leaf, with either `reset` [E] bool. Outputs: the
action's leaves by name, `env_action` (ready for the environment; of a nested action each leaf, env_action.arm of
action.arm), `log_prob` [E] float32, and `next_state` and `next_frames`. Metadata: dppo.noise, dppo.version,
perhaps dppo.group_rows.
"""

import functools
import math
from typing import Any

import numpy as np
import onnxruntime as ort

from dppo.actor.sampling.noise import noise_parts
from dppo.protocol.errors import DppoError, ProtocolError
from dppo.protocol.external_data import refuse_external_data
from dppo.protocol.leaves import Leaf
from dppo.protocol.recurrent_state import MOST_FRAMES, MOST_STATE, NEXT, RESET, STATE, carried_names
from dppo.protocol.rollout import Leaves

MAX_TENSOR_BYTES = 4 * 2**30  # of all policies in this process: weights, and what they compute in between
MAX_GROUP_ROWS = 1024
# Bytes of a graph that is made ready the short way, without looking for nodes to fuse: the same numbers as fast, and
# 0.8 ms instead of 1.2 of every actor after every update (64x64; with a GRU 3.2 instead of 5.7). Convolutions need it.
SMALL_GRAPH = 2**18
ENV_ACTION = "env_action"


class PolicyRunner:
    """One version of the policy. A new version is a new runner: a small network's session takes 1-6 ms to make.

    Inputs and outputs are bound to arrays of our own: 6 us a call for a 64x64 network at E = 8, against 8.4 us for
    InferenceSession.run and 40 us for run_with_ort_values.
    """

    def __init__(self, graph: bytes) -> None:
        """Raises ProtocolError for a graph that cannot be read or that lacks what an actor needs."""
        refuse_external_data(graph)
        self._session = _session(graph)
        inputs = {put.name: put for put in self._session.get_inputs()}
        outputs = [put.name for put in self._session.get_outputs()]
        missing = {"noise"} - set(inputs) | {"log_prob"} - set(outputs)
        self._env_names = [name for name in outputs if name.partition(".")[0] == ENV_ACTION]
        if missing or not self._env_names:
            missing |= set() if self._env_names else {ENV_ACTION}
            raise ProtocolError(f"the policy graph lacks {', '.join(sorted(missing))}")
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.metadata = metadata
        self.noise_size = _noise_size(inputs["noise"].shape)
        self.noise_kind = metadata.get("dppo.noise", "")
        self.noise_parts = noise_parts(self.noise_kind, self.noise_size)
        self.version = _version(metadata)
        self.carried = _carried(inputs, outputs)  # from step to step, of one environment
        self.group_rows = _group_rows(metadata)
        self._observation_names = [name for name in inputs if name != "noise"]
        self._output_names = outputs
        self._inputs: Leaves = {}  # what the session reads and writes, once the shapes are known
        self._outputs: Leaves = {}
        self._actions: Leaves = {}
        self._env_actions: np.ndarray | Leaves = {}
        self._binding: Any = None

    @property
    def after(self) -> Leaves:
        """States to carry on from the newest step [E, ...], by name; the next call of `act` overwrites them."""
        return {leaf.name: self._outputs[NEXT + leaf.name] for leaf in self.carried}

    def act(self, observations: Leaves, noise: np.ndarray) -> tuple[Leaves, np.ndarray | Leaves, np.ndarray]:
        """Action leaves [E, ...], env_action [E, ...] and log_prob [E]; the next call overwrites all of them.

        observations: with masks, where the policy has them, and with what it carries on (`CarriedState.given`).

        env_action of a nested action: its leaves by their names in the graph, env_action.arm.
        """
        inputs = self._inputs
        if not inputs or inputs["noise"].shape != noise.shape:
            self._bind(observations, noise)
            inputs = self._inputs
        for name in self._observation_names:
            inputs[name][...] = observations[name]
        inputs["noise"][...] = noise
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            raise self._failed(error) from error
        return self._actions, self._env_actions, self._outputs["log_prob"]

    def _bind(self, observations: Leaves, noise: np.ndarray) -> None:
        """Runs once unbound: the graph's own output shapes may be symbolic."""
        missing = [name for name in self._observation_names if name not in observations]
        if missing:
            raise DppoError(f"policy {self.version} takes {', '.join(missing)}, which these environments do not give")
        sources = {name: observations[name] for name in self._observation_names} | {"noise": noise}
        self._inputs = {name: np.array(source, order="C") for name, source in sources.items()}
        try:
            results = self._session.run(self._output_names, self._inputs)
        except Exception as error:
            raise self._failed(error) from error
        self._outputs = {
            name: np.array(result, order="C") for name, result in zip(self._output_names, results, strict=True)
        }
        for_env = {name: self._outputs[name] for name in self._env_names}
        others = {*for_env, "log_prob", *(NEXT + leaf.name for leaf in self.carried)}
        self._actions = {name: out for name, out in self._outputs.items() if name not in others}
        self._env_actions = for_env[ENV_ACTION] if list(for_env) == [ENV_ACTION] else for_env
        self._binding = self._session.io_binding()
        for bind, arrays in ((self._binding.bind_input, self._inputs), (self._binding.bind_output, self._outputs)):
            for name, array in arrays.items():
                bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def _failed(self, error: Exception) -> DppoError:
        what = " ".join(str(error).split())
        return DppoError(f"policy {self.version} of the learner cannot be run here: {what}")


@functools.cache
def _limit_memory() -> None:
    """Have ONNX Runtime allocate the tensors of this process's policies from one arena, of a limited size.

    As fast as an arena for each session (10 us a call for 8 -> 64 at E = 8, both). Not limited: what a few operators
    allocate besides.
    """
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(MAX_TENSOR_BYTES, -1, -1, -1))


def _session(graph: bytes) -> Any:
    _limit_memory()
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = 1  # actors are many: each has one core
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    if len(graph) <= SMALL_GRAPH and b"Conv" not in graph:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base class of their own
        raise ProtocolError(f"the policy graph of {len(graph)} bytes cannot be read: {error}") from error


def _noise_size(shape: list[Any]) -> int:
    if len(shape) != 2 or not isinstance(shape[1], int) or shape[1] < 1:
        raise ProtocolError(f"the policy graph's noise has shape {shape}; it must be [E, n] with a fixed n")
    return shape[1]


def _carried(inputs: dict[str, Any], outputs: list[str]) -> tuple[Leaf, ...]:
    """Leaves that are carried from step to step. Raises ProtocolError where a part of one is missing."""
    after = carried_names(name.removeprefix(NEXT) for name in outputs if name.startswith(NEXT))
    names = list(dict.fromkeys([*carried_names(inputs), *after]))
    if not names and RESET not in inputs:
        return ()
    missing = [name for name in (*(names or [STATE]), RESET) if name not in inputs]
    missing += [NEXT + name for name in names if name not in after]
    if missing:
        raise ProtocolError(f"the policy graph has a memory, and lacks {', '.join(missing)}")
    return tuple(_carried_leaf(name, inputs[name].shape, inputs[name].type) for name in names)


def _carried_leaf(name: str, shape: list[Any], kind: str) -> Leaf:
    sizes = shape[1:]
    is_memory = name == STATE
    fixed = all(isinstance(size, int) and size > 0 for size in sizes)
    most = MOST_STATE if is_memory else MOST_FRAMES
    if not fixed or math.prod(sizes) > most or (len(sizes) != 1 if is_memory else len(sizes) < 2):
        form = f"[E, s] with s up to {most}" if is_memory else f"[E, k - 1, ...] of up to {most} bytes"
        raise ProtocolError(f"the policy graph's {name} has shape {shape}; it must be {form}")
    if kind != ("tensor(float)" if is_memory else "tensor(uint8)"):
        raise ProtocolError(f"the policy graph's {name} is a {kind}, which no policy of ours has")
    return Leaf(name, "<f4" if is_memory else "|u1", tuple(sizes), "box")


def _group_rows(metadata: dict[str, str]) -> int:
    """Return the rows that are to be computed together, 0: any number."""
    text = metadata.get("dppo.group_rows", "0")
    if not text.isdecimal() or int(text) > MAX_GROUP_ROWS:
        raise ProtocolError(f"the policy graph's group_rows is {text[:64]!r}, not a number up to {MAX_GROUP_ROWS}")
    return int(text)


def _version(metadata: dict[str, str]) -> int:
    text = metadata.get("dppo.version", "")
    if not text.isdecimal():
        raise ProtocolError(f"the policy graph's version is {text!r}, not a number")
    return int(text)
