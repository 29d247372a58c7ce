"""The state of a policy's memory in an actor: who begins with zeros, what a segment carries, what goes on."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from onnx import ModelProto

from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import ProtocolError
from dppo.protocol.specs import Spec

GRU = NetworkConfig(policy_hidden=(4,), critic_hidden=(4,), memory="gru", memory_width=3)


class Counts(gym.Env[Any, Any]):
    """Observes the step's number; ends after 3 steps or crashes in the step that is said."""

    observation_space = gym.spaces.Box(0, 100, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, ends: str = "truncated", crash: int = 0) -> None:
        self.ends, self.crash, self.total, self.steps = ends, crash, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return np.ones(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        self.total += 1
        if self.total == self.crash:
            raise RuntimeError("broken")
        over = self.steps == 3
        observation = np.full(1, self.steps + 1, np.float32)
        return observation, 1.0, over and self.ends == "terminated", over and self.ends == "truncated", {}


def runner_for(spec: Spec, version: int = 1, seed: int = 1, network: NetworkConfig = GRU) -> PolicyRunner:
    trainer = Trainer(spec, ppo=PpoConfig(), network=network, seed=seed, total_steps=100)
    return PolicyRunner(trainer.graph_bytes(version))


class Recorded:
    """A collector, and the state and the observation that each step begins with."""

    def __init__(self, environments: Any) -> None:
        self.collector = Collector(environments, seed=1, first_slot=0, life=0)
        self.spec = environments.spec
        self.collector.load(runner_for(self.spec))

    def step(self) -> tuple[np.ndarray, np.ndarray]:
        carried, observations = self.collector._carried, self.collector._observations
        assert carried is not None
        state, observed = carried.before(observations)["state"], observations["observation"].copy()
        self.collector.step()
        return state, observed


def crashing(crash: int) -> SyncLoop:
    made = [Counts(crash=crash), Counts()]
    return SyncLoop(list(made), make=lambda column: Counts())


@pytest.mark.parametrize(
    "environments",
    [
        SyncLoop([Counts("terminated"), Counts("truncated")]),
        *(
            VectorEnvironments(SyncVectorEnv([Counts] * 2, autoreset_mode=mode), "test", "per_column")
            for mode in AutoresetMode
        ),
        crashing(2),
        *(pytest.param(crashing(step), marks=pytest.mark.slow) for step in (1, 5)),
    ],
)
def test_every_episode_begins_with_zeros_and_nothing_else_does(environments: Any) -> None:
    recorded = Recorded(environments)
    for _ in range(14):
        state, observed = recorded.step()
        begins = observed[:, 0] == 1
        valid = recorded.collector._open.valid[recorded.collector.rows - 1]
        assert (state[begins] == 0).all()
        assert (state[valid & ~begins] != 0).any(axis=1).all()


def test_a_segment_carries_the_state_that_it_begins_with_whatever_the_policy() -> None:
    recorded = Recorded(SyncLoop([Counts(), Counts()]))
    recorded.step()
    first = recorded.collector.cut()
    assert first is not None
    assert (first.states["state"] == 0).all()
    recorded.collector.load(runner_for(recorded.spec, 2, seed=2))
    state, _ = recorded.step()
    assert state.any(), "a new version goes on with the state of the old one"
    recorded.step()
    second = recorded.collector.cut()
    assert second is not None
    np.testing.assert_array_equal(second.states["state"], state)


def test_a_policy_without_memory_has_no_state() -> None:
    recorded = Recorded(SyncLoop([Counts(), Counts()]))
    recorded.collector.load(runner_for(recorded.spec, 2, network=NetworkConfig(policy_hidden=(4,), critic_hidden=(4,))))
    recorded.collector.step()
    segment = recorded.collector.cut()
    assert segment is not None
    assert segment.states == {}


def test_a_graph_with_half_a_memory_is_refused() -> None:
    spec = SyncLoop([Counts()]).spec
    graph = Trainer(spec, ppo=PpoConfig(), network=GRU, seed=1, total_steps=100).graph_bytes(1)
    model = ModelProto.FromString(graph)
    (place,) = [index for index, put in enumerate(model.graph.output) if put.name == "next_state"]
    del model.graph.output[place]
    with pytest.raises(ProtocolError, match="has a memory, and lacks next_state"):
        PolicyRunner(bytes(model.SerializeToString()))
