"""Does it learn with several choices, and with a Dict of choices and numbers? In this process, bounded steps."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from learned_policies import mean_reward

from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.api.policy import Policy
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer

EPISODE_STEPS = 20
ROWS, ENVS = 256, 4

CHOICES = spaces.MultiDiscrete([[2, 3], [2, 2]], start=[[4, 0], [0, 0]])
DICT = spaces.Dict(
    {
        "drive": spaces.Box(-1, 1, (1,), np.float64),
        "gears": spaces.Tuple([spaces.Discrete(2, start=5), spaces.MultiDiscrete([3, 2])]),
        "lamps": spaces.MultiBinary(2),
    }
)


class Matching(gym.Env[Any, Any]):
    """At most 1 a step: each part of the action has to fit to another number of the observation."""

    observation_space = spaces.Box(-1, 1, (4,))

    def __init__(self, action_space: gym.Space[Any]) -> None:
        self.action_space = action_space

    def _observe(self) -> np.ndarray:
        self._seen = self.np_random.uniform(-1, 1, 4).astype(np.float32)
        return self._seen

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        signs = self._seen > 0
        third = int(np.digitize(self._seen[1], [-1 / 3, 1 / 3]))
        if isinstance(action, dict):
            one, (two, three) = action["gears"]
            fit = [1 - abs(float(action["drive"][0]) - float(self._seen[3])), one - 5 == signs[0], two == third]
            fit += [three == signs[2], action["lamps"][0] == signs[0], action["lamps"][1] != signs[2]]
        else:
            fit = [
                action[0, 0] - 4 == signs[0],
                action[0, 1] == third,
                action[1, 0] == signs[2],
                action[1, 1] == signs[3],
            ]
        self._steps += 1
        return self._observe(), float(np.mean(fit)), False, self._steps == EPISODE_STEPS, {}


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("space", [CHOICES, DICT], ids=["MultiDiscrete", "Dict"])
def test_every_part_of_an_action_is_learned_within_forty_thousand_steps(space: gym.Space[Any]) -> None:
    environments = SyncLoop([Matching(space) for _ in range(ENVS)])
    ppo = PpoConfig(minibatch_steps=64, epochs=8, learning_rate=1e-3, gamma=0.5)
    network = NetworkConfig(policy_hidden=(32, 32), critic_hidden=(32, 32))
    trainer = Trainer(environments.spec, ppo=ppo, network=network, seed=1, total_steps=40 * ROWS * ENVS)
    collector = Collector(environments, seed=1, first_slot=0, life=0)
    untrained = mean_reward(Matching(space), Policy(trainer.graph_bytes(1), seed=1), deterministic=False)
    for version in range(1, 41):
        collector.load(PolicyRunner(trainer.graph_bytes(version)))
        for _ in range(ROWS):
            collector.step()
        segment = collector.cut()
        assert segment is not None
        report = trainer.update([Received("actor", b"12345678", version, 0, segment)])
        assert report.ratio_excess <= 1
    trained = mean_reward(Matching(space), Policy(trainer.graph_bytes(41), seed=1))
    assert untrained < 0.6
    assert trained > 0.93
