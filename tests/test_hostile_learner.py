"""What a hostile learner cannot make an honest actor do."""

import contextlib
import json

import numpy as np
import onnx
import pytest
from graphs import categorical_graph, gaussian_graph
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dppo.actor.bounds import MAX_ENVS, unreasonable
from dppo.actor.sampling.policy_runner import MAX_TENSOR_BYTES, PolicyRunner
from dppo.actor.session.actions import Exit
from dppo.actor.session.policy_parts import Parts
from dppo.actor.session.session import ActorSession
from dppo.protocol.errors import DppoError, ProtocolError
from dppo.protocol.external_data import refuse_external_data
from dppo.protocol.messages import EnvSettings, Part, Welcome
from dppo.protocol.release import RELEASE

GRAPH = categorical_graph(np.zeros((4, 2)))


def external(location: str = "id_rsa") -> TensorProto:
    tensor = TensorProto(name="stolen", data_type=TensorProto.UINT8, dims=[8], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "8"}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model() -> onnx.ModelProto:
    return onnx.load_model_from_string(GRAPH)


def with_initializer() -> onnx.ModelProto:
    graph = model()
    graph.graph.initializer.append(external())
    return graph


def with_constant() -> onnx.ModelProto:
    graph = model()
    graph.graph.node.append(helper.make_node("Constant", [], ["stolen"], value=external()))
    return graph


def within_branches() -> onnx.ModelProto:
    graph = model()
    inner = helper.make_graph([helper.make_node("Constant", [], ["x"], value=external())], "inner", [], [])
    for _ in range(3):
        inner = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=inner)], "outer", [], [])
    graph.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner))
    return graph


def within_a_function() -> onnx.ModelProto:
    graph = model()
    node = helper.make_node("Constant", [], ["x"], value=external())
    graph.functions.append(helper.make_function("mine", "F", [], ["x"], [node], [helper.make_opsetid("", 17)]))
    return graph


def as_sparse() -> onnx.ModelProto:
    graph = model()
    graph.graph.sparse_initializer.add().values.CopyFrom(external())
    return graph


def as_a_list() -> onnx.ModelProto:
    graph = model()
    attribute = graph.graph.node[0].attribute.add(name="many", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(external())
    return graph


@pytest.mark.parametrize(
    "make", [with_initializer, with_constant, within_branches, within_a_function, as_sparse, as_a_list]
)
def test_a_graph_that_names_files_is_refused_wherever_it_names_them(make: object) -> None:
    graph = make().SerializeToString()
    with pytest.raises(ProtocolError, match="names files of this host"):
        refuse_external_data(graph)
    with pytest.raises(ProtocolError, match="names files of this host"):
        PolicyRunner(graph)


def test_the_word_alone_is_no_reason() -> None:
    graph = model()
    graph.graph.node[0].name = "location"
    graph.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "location"))
    graph.metadata_props.add(key="location", value="here")
    refuse_external_data(graph.SerializeToString())
    refuse_external_data(GRAPH)
    refuse_external_data(gaussian_graph(np.zeros((3, 1)), np.zeros(1)))


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_make_more_of_it_than_a_refusal(noise: bytes, at: int) -> None:
    graph = with_initializer().SerializeToString()
    damaged = graph[:at] + noise + graph[at:] + b"location"
    with contextlib.suppress(ProtocolError):
        refuse_external_data(damaged)


def test_nesting_without_end_is_refused() -> None:
    graph, inner = model(), helper.make_graph([], "inner", [], [])
    for _ in range(25):
        inner = helper.make_graph([helper.make_node("If", ["c"], ["location"], then_branch=inner)], "g", [], [])
    graph.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner))
    with pytest.raises(ProtocolError, match="nested too deep"):
        refuse_external_data(graph.SerializeToString())


def welcome(**changes: object) -> Welcome:
    numbers = dict.fromkeys(("first_slot", "life", "watermark"), 0) | {
        "protocol": 1,
        "term": 1,
        "seed": 1,
        "credit": 8,
    }
    times = {"lease_seconds": 10.0, "heartbeat_seconds": 1.0}
    env = EnvSettings("my_robot:Reach-v0")
    values: dict[str, object] = {"run_id": "r", "env": env, "envs": 8, "on_stop": "keep", **numbers, **times}
    return Welcome(**(values | changes))


def in_wrappers(*names: str) -> dict[str, object]:
    return {"env": EnvSettings("my_robot:Reach-v0", wrappers_json=json.dumps(names))}


@pytest.mark.parametrize(
    ("changes", "allowed", "why"),
    [
        ({}, (), ""),
        ({}, ("my_robot:*",), ""),
        ({}, ("CartPole-v1", "my_*"), ""),
        ({}, ("CartPole-v1", "other:*"), "wants 'my_robot:Reach-v0', and --allow-env allows only CartPole-v1, other:*"),
        ({}, ("MY_robot:*",), "allows only MY_robot"),
        (in_wrappers("other:Wrapper"), (), ""),
        (in_wrappers("my_robot:Wrapper"), ("my_robot:*",), ""),
        (in_wrappers("my_robot.Wrapper"), ("my_robot:*",), ""),
        (in_wrappers("gymnasium.wrappers:ClipReward"), ("my_robot:*", "gymnasium.wrappers.Clip*"), ""),
        (
            in_wrappers("my_robot:Wrapper", "os.path.Evil"),
            ("my_robot:*",),
            "wants the wrapper os.path:Evil, and --allow",
        ),
        ({"env": EnvSettings("my_robot:Reach-v0", wrappers_json="[" * 2000)}, ("my_robot:*",), "cannot be read"),
        ({"envs": MAX_ENVS}, (), ""),
        ({"envs": 10**7}, (), "10,000,000 environments"),
        ({"lease_seconds": 0.0}, (), "lease is 0 s"),
        ({"heartbeat_seconds": 0.0}, (), "too often"),
    ],
)
def test_wishes_beyond_reason_end_the_actor_before_anything_is_made(
    changes: dict[str, object], allowed: tuple[str, ...], why: str
) -> None:
    said = unreasonable(welcome(**changes), allowed)
    assert why in said
    assert bool(why) == bool(said)
    session = ActorSession(actor="a", incarnation=b"12345678", envs=0, release=RELEASE)
    session.allowed_envs = allowed
    session.connected(0.0)
    actions = session.receive(welcome(**changes), None, 0.1)
    assert any(isinstance(action, Exit) and action.code == 3 for action in actions) == bool(why)


def test_parts_without_end_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dppo.actor.session.policy_parts.MAX_GRAPH_BYTES", 1000)
    parts = Parts()
    for index in range(10):
        parts.add(Part(1, 1, index), b"x" * 100)
    with pytest.raises(ProtocolError, match="more than 1,000 bytes"):
        parts.add(Part(1, 1, 10), b"x")
    assert parts.end((1, 1), b"y") == b"y"


def graph_that_takes(floats: int) -> bytes:
    """Return a policy that fills so many floats in every call, with a size that no optimiser can fold away."""
    graph = model()
    last = next(node for node in graph.graph.node if list(node.output) == ["log_prob"])
    last.output[0] = "before"
    graph.graph.initializer.append(numpy_helper.from_array(np.array([floats], np.int64), "size"))
    graph.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["observation"], ["largest"], keepdims=0),
            helper.make_node("Expand", ["largest", "size"], ["many"]),
            helper.make_node("ReduceMin", ["many"], ["smallest"], keepdims=0),
            helper.make_node("Add", ["before", "smallest"], ["log_prob"]),
        ]
    )
    return graph.SerializeToString()


def test_a_graph_that_asks_for_memory_without_end_fails_in_one_line_and_takes_none() -> None:
    resource = pytest.importorskip("resource")
    observations, noise = {"observation": np.ones((2, 4), np.float32)}, np.zeros((2, 2), np.float32)
    fits = PolicyRunner(graph_that_takes(10**6))
    assert fits.act(observations, noise)[2] == pytest.approx(1 - np.log(2), abs=1e-5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    greedy = PolicyRunner(graph_that_takes(MAX_TENSOR_BYTES // 4 + 1))
    with pytest.raises(DppoError, match=r"policy 1 of the learner cannot be run here: .*memory") as caught:
        greedy.act(observations, noise)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"
    assert fits.act(observations, noise)[2] == pytest.approx(1 - np.log(2), abs=1e-5), "the other one goes on"
