"""Small trainers and the batches that they train on: segments that their own policies acted."""

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import onnxruntime
import torch

from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.epochs import UpdateReport
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Spec, spec_of

OBSERVATIONS = gym.spaces.Box(-np.inf, np.inf, (3,))
CONTINUOUS = spec_of(OBSERVATIONS, gym.spaces.Box(-1, 1, (1,)))
DISCRETE = spec_of(OBSERVATIONS, gym.spaces.Discrete(3))
SMALL = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,))
PPO = PpoConfig(epochs=3, minibatch_steps=16)

Reward = Callable[[np.ndarray], np.ndarray]


def make_trainer(spec: Spec = CONTINUOUS, ppo: PpoConfig = PPO, total_steps: int = 10_000, seed: int = 1) -> Trainer:
    return Trainer(spec, ppo=ppo, network=SMALL, seed=seed, total_steps=total_steps)


def acted(
    trainer: Trainer,
    seed: int,
    T: int = 8,
    E: int = 4,
    reward: Reward = lambda action: -np.abs(action - 0.5),
    dtype: np.typing.DTypeLike = np.float32,
) -> Segment:
    """What an actor would send: onnxruntime acts on random observations; some episodes end in both ways."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # threads take longer to start than to act
    session = onnxruntime.InferenceSession(trainer.graph_bytes(0), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    width = session.get_inputs()[1].shape[1]
    observations = rng.normal(2.0, 3.0, size=(T + 1, E, 3)).astype(dtype)
    actions, log_probs = [], []
    for row in observations[:-1]:
        noise = rng.normal(size=(E, width)) if trainer.policy.noise == "normal" else rng.gumbel(size=(E, width))
        feed = {"observation": row, "noise": noise.astype(np.float32)}
        action, log_prob = session.run(["action", "log_prob"], feed)
        actions.append(action)
        log_probs.append(log_prob)
    end = rng.integers(0, 8, (T, E))
    return Segment(
        observations={"observation": observations},
        actions={"action": np.stack(actions)},
        masks={},
        states={},
        behaviour_log_probs=np.stack(log_probs),
        rewards=reward(np.stack(actions).reshape(T, E, -1)[..., 0]).astype(np.float32),
        terminated=end == 0,
        truncated=end == 1,
        valid=np.ones((T, E), bool),
        final_observations={"observation": rng.normal(size=(int((end == 1).sum()), 3)).astype(dtype)},
        episode_returns=np.zeros(0, np.float32),
        episode_lengths=np.zeros(0, np.int32),
        episode_columns=np.zeros(0, np.int32),
        episode_successes=np.zeros(0, np.float32),
    )


def batch_for(trainer: Trainer, seed: int = 0, actors: int = 3) -> list[Received]:
    """One rollout of each actor."""
    return [Received(f"a{i}", bytes([i]), 0, 4 * i, acted(trainer, 10 * seed + i)) for i in range(actors)]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """All but the moments of the rewards as paid, by which nothing is trained."""
    return {name: tensor for name, tensor in trainer.tensors().items() if not name.startswith("rewards.")}


def assert_bit_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def report_of(ppo: PpoConfig, total_steps: int = 10_000, updates: int = 1) -> list[UpdateReport]:
    trainer = make_trainer(ppo=ppo, total_steps=total_steps)
    return [trainer.update(batch_for(trainer, seed)) for seed in range(updates)]
