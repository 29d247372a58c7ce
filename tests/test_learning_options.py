"""Does it learn with each option? A target that moves with the observation, in this process, bounded steps."""

from dataclasses import replace
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
ROWS, ENVS, UPDATES = 64, 8, 30
PPO = PpoConfig(minibatch_steps=128, epochs=8, learning_rate=3e-3, gamma=0.5)
NETWORK = NetworkConfig(policy_hidden=(32,), critic_hidden=(32,), action_bounds="rescale")
PLACES = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
PLACE = spaces.Box(-2, 2, (1,))
OPTIONS: dict[str, tuple[gym.Space[Any], dict[str, Any], dict[str, Any]]] = {
    "value clipping": (PLACES, {"value_clip_range": 0.2}, {}),
    "entropy schedule": (PLACES, {"entropy_coefficient": 0.01, "entropy_schedule": "linear"}, {}),
    "dual clip": (PLACES, {"dual_clip": 3.0}, {}),
    "stop by minibatch": (PLACES, {"early_stop_kl": 0.03, "early_stop_per": "minibatch"}, {}),
    "advantages anew": (PLACES, {"recompute_advantages": True}, {}),
    "reward normalisation": (PLACES, {"normalise_rewards": True, "reward_clip": 10.0}, {}),
    "squash": (PLACES, {}, {"action_bounds": "squash"}),
    "beta": (PLACES, {}, {"distribution": "beta"}),
    "exploration": (PLACES, {}, {"exploration": "state"}),
    "coloured noise": (PLACES, {}, {"noise_colour": 0.5}),
    "mask by KL": (PLACES, {"surrogate": "divergence_mask"}, {}),
    "mask by total variation": (PLACE, {"surrogate": "divergence_mask", "divergence": "total_variation"}, {}),
}


class Places(gym.Env[np.ndarray, np.ndarray]):
    """1 a step less the distance of the action, in half widths of its bounds, from what two numbers say."""

    observation_space = spaces.Box(-1, 1, (2,))

    def __init__(self, action_space: spaces.Box) -> None:
        self.action_space = action_space
        self._middle = (action_space.low + action_space.high) / 2
        self._half = (action_space.high - action_space.low) / 2

    def _observe(self) -> np.ndarray:
        self._seen = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self._seen

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        wanted = 0.7 * self._seen[: len(self._half)]
        reward = 1.0 - float(np.abs((action - self._middle) / self._half - wanted).mean())
        self._steps += 1
        return self._observe(), reward, False, self._steps == EPISODE_STEPS, {}


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_a_moving_target_is_learned_within_sixteen_thousand_steps(option: str) -> None:
    space, of_ppo, of_network = OPTIONS[option]
    assert isinstance(space, spaces.Box)
    environments = SyncLoop([Places(space) for _ in range(ENVS)])
    trainer = Trainer(
        environments.spec,
        ppo=replace(PPO, **of_ppo),
        network=replace(NETWORK, **of_network),
        seed=1,
        total_steps=UPDATES * ROWS * ENVS,
    )
    collector = Collector(environments, seed=1, first_slot=0, life=0)
    untrained = mean_reward(Places(space), Policy(trainer.graph_bytes(1), seed=1), deterministic=False)
    for version in range(1, UPDATES + 1):
        collector.load(PolicyRunner(trainer.graph_bytes(version)))
        for _ in range(ROWS):
            collector.step()
        segment = collector.cut()
        assert segment is not None
        report = trainer.update([Received("actor", b"12345678", version, 0, segment)])
        assert report.ratio_excess <= 1
    trained = Policy(trainer.graph_bytes(UPDATES + 1), seed=1)
    assert mean_reward(Places(space), trained, deterministic=True) > 0.95
    assert mean_reward(Places(space), trained, deterministic=False) > untrained + 0.2
