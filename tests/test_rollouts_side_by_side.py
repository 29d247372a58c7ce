"""Values, advantages and returns of a rollout are the same whatever others stand beside it in its batch.

Actors that are stopped by the learner deliver segments of different lengths; those of one process are all alike.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from generated_spaces import Anything
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from shards import examples

from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.frame_stacks import rollout_spec
from dppo.learner.ppo.batch import Estimates, Received
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.rollout_validation import checked_segment
from dppo.protocol.messages import Rollout
from dppo.protocol.rollout import pack
from dppo.protocol.specs import Spec

ENVS = 2
SMALL: dict[str, Any] = {"policy_hidden": (8,), "critic_hidden": (8,)}
NUMBERS = gym.spaces.Box(-10, 10, (3,))
PICTURE = gym.spaces.Box(0, 255, (8, 8), np.uint8)
NETWORKS: dict[str, tuple[gym.Space[Any], NetworkConfig]] = {
    "plain": (NUMBERS, NetworkConfig(**SMALL)),
    "gru": (NUMBERS, NetworkConfig(**SMALL, memory="gru", memory_width=6, bptt_steps=5)),
    "lstm": (NUMBERS, NetworkConfig(**SMALL, memory="lstm", memory_width=4, memory_layers=2, bptt_steps=0)),
    "frames": (PICTURE, NetworkConfig(**SMALL, encoder="impala_cnn", frame_stack=3)),
    "frames remembered": (PICTURE, NetworkConfig(**SMALL, encoder="impala_cnn", frame_stack=3, memory="gru")),
}
PPO = PpoConfig(minibatch_steps=16, epochs=1, learning_rate=1e-3)


def trainer_of(spec: Spec, network: NetworkConfig) -> Trainer:
    return Trainer(spec, ppo=PPO, network=network, seed=1, total_steps=1000)


def estimates_of(spec: Spec, network: NetworkConfig, batch: list[Received]) -> Estimates:
    """What a trainer that has learned nothing yet estimates of a batch."""
    trainer, kept = trainer_of(spec, network), []
    judged = trainer._judged_by_critic
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_judged_by_critic", lambda *given: kept.append(judged(*given)) or kept[-1])
        trainer.update(batch)
    return kept[0]


@pytest.mark.slow
@settings(max_examples=examples(30, 15), suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(NETWORKS)), lengths=st.lists(st.integers(1, 40), min_size=2, max_size=4, unique=True)
)
@example("gru", [9, 25])
@example("lstm", [25, 9, 8])
@example("frames remembered", [2, 30])
@pytest.mark.filterwarnings("ignore")
def test_a_rollout_is_judged_beside_longer_ones_as_it_is_alone(name: str, lengths: list[int]) -> None:
    observation, network = NETWORKS[name]
    batch = []
    for place, rows in enumerate(lengths):
        environments = SyncLoop([Anything(observation, gym.spaces.Discrete(3)) for _ in range(ENVS)])
        spec = environments.spec
        collector = Collector(environments, seed=1, first_slot=ENVS * place, life=0)
        collector.load(PolicyRunner(trainer_of(spec, network).graph_bytes(1)))
        for _ in range(rows):
            collector.step()
        segment = collector.cut()
        assert segment is not None
        counts, of_rollouts = segment.counts, rollout_spec(spec, network)
        header = Rollout(0, 1, 1, counts.T, counts.E, counts.finals, counts.episodes, segment.steps)
        accepted = checked_segment(of_rollouts, header, bytes(pack(of_rollouts, segment)), envs=ENVS)
        batch.append(Received(f"actor-{place}", bytes([place] * 8), 0, ENVS * place, accepted, 1, 1))
    together = estimates_of(spec, network, batch)
    alone = [estimates_of(spec, network, [rollout]) for rollout in batch]
    for field in Estimates._fields:
        expected = np.concatenate([getattr(estimates, field) for estimates in alone])
        np.testing.assert_allclose(getattr(together, field), expected, rtol=1e-4, atol=1e-4, err_msg=field)
