"""The networks in TensorBoard's Graphs tab: what is shown, and what it says."""

from pathlib import Path

import gymnasium as gym
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef

from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.telemetry.metrics import MetricsWriter
from dppo.learner.telemetry.tensorboard_graph import network_graph
from dppo.protocol.specs import Spec, spec_of


def spec_for(env_id: str) -> Spec:
    environment = gym.make(env_id)
    return spec_of(environment.observation_space, environment.action_space)


def graph_of(env_id: str) -> bytes:
    spec = spec_for(env_id)
    trainer = Trainer(spec, ppo=PpoConfig(), network=NetworkConfig(), seed=1, total_steps=1000)
    return network_graph(trainer.policy, trainer.critic, spec)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "CartPole-v1", "FrozenLake-v1"])
def test_every_edge_leads_from_a_node_and_everything_leads_from_the_observation(env_id: str) -> None:
    nodes = {node.name: node for node in GraphDef.FromString(graph_of(env_id)).node}
    assert all(name in nodes for node in nodes.values() for name in node.input)

    def sources(name: str) -> set[str]:
        return {name}.union(*(sources(other) for other in nodes[name].input))

    for output in ("action", "env_action", "log_prob", "value"):
        assert "observation" in sources(output)
        assert ("noise" in sources(output)) == (output != "value")
    assert {name.split("/")[0] for name in sources("value")} <= {"value", "critic", "policy", "observation"}


def test_every_part_of_a_nested_action_is_an_output() -> None:
    choices = gym.spaces.MultiDiscrete([2, 3])
    parts = {"a": gym.spaces.Box(-1, 1), "b": gym.spaces.Box(0, 1), "c": choices, "d": gym.spaces.MultiBinary(2)}
    spec = spec_of(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Dict(parts))
    trainer = Trainer(spec, ppo=PpoConfig(), network=NetworkConfig(), seed=1, total_steps=1000)
    nodes = {node.name: node for node in GraphDef.FromString(network_graph(trainer.policy, trainer.critic, spec)).node}
    outputs = [f"{name}.{part}" for name in ("action", "env_action") for part in parts]
    assert all(nodes[name].input for name in [*outputs, "log_prob", "value"])


def test_layers_are_boxes_in_boxes_and_the_encoder_is_one(tmp_path: Path) -> None:
    nodes = {node.name: node for node in GraphDef.FromString(graph_of("Pendulum-v1")).node}
    assert nodes["critic/body/Linear_0/linear"].input == [
        "policy/encoder/clamp",
        "critic/body/Linear_0/weight",
        "critic/body/Linear_0/bias",
    ]
    (shape,) = nodes["policy/body/Tanh_1/tanh"].attr["_output_shapes"].list.shape
    assert [dim.size for dim in shape.dim] == [-1, 64]
    assert not [name for name in nodes if name.startswith("policy/encoder/") and name.endswith("_1")]


def test_tensorboard_reads_the_graph_beside_the_curves(tmp_path: Path) -> None:
    graph = graph_of("Pendulum-v1")
    writer = MetricsWriter(tmp_path, True, pytest.fail)
    writer.write(1, 100, 0.1, {"update/kl": 0.25})
    writer.write_graph(lambda: graph)
    writer.write(2, 200, 0.2, {"update/kl": 0.5})
    writer.close()
    accumulator = EventAccumulator(str(tmp_path / "tb"))
    accumulator.Reload()
    assert accumulator.Graph() == GraphDef.FromString(graph)
    assert [event.step for event in accumulator.Scalars("train/kl")] == [100, 200]


def test_networks_that_cannot_be_traced_are_reported_and_train_on(tmp_path: Path) -> None:
    warnings: list[str] = []
    writer = MetricsWriter(tmp_path, True, warnings.append)

    def graph() -> bytes:
        raise RuntimeError("two runs differ")

    writer.write_graph(graph)
    assert len(warnings) == 1
    assert "no graph of the networks in TensorBoard" in warnings[0]


def test_without_tensorboard_no_graph_is_made(tmp_path: Path) -> None:
    MetricsWriter(tmp_path, False, pytest.fail).write_graph(lambda: pytest.fail("made"))
