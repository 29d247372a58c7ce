"""Rows carry observations as they came; encoded once a batch or in every minibatch, training is the same."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from trainer_batches import acted, assert_bit_equal

from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.ppo import rows as rows_module
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.epochs import EpochMetrics, Refresh
from dppo.learner.ppo.optimizer import Way
from dppo.learner.ppo.rows import Rows, encoded_in_parts
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.specs import spec_of

BYTES = gym.spaces.Box(0, 255, (3,), np.uint8)
FLOATS = gym.spaces.Box(-np.inf, np.inf, (3,))
ACTIONS = {"box": gym.spaces.Box(-1, 1, (2,)), "discrete": gym.spaces.Discrete(3)}
SMALL = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,))
PPO = PpoConfig(epochs=2, minibatch_steps=16, surrogate="kl_penalty")


def rows_of(n: int, *, features: bool) -> Rows:
    numbers = torch.arange(float(n))
    leaves = {"pixels": torch.arange(2 * n, dtype=torch.uint8).reshape(n, 2)}
    index = torch.arange(n).flip(0)
    kept = leaves["pixels"].index_select(0, index).to(torch.float32) if features else None
    return Rows(leaves, index, kept, numbers, numbers, numbers, numbers, numbers, numbers.unsqueeze(-1))


def floats(leaves: rows_module.Leaves) -> torch.Tensor:
    return leaves["pixels"].to(torch.float32)


@pytest.mark.parametrize("features", [True, False])
def test_any_part_of_the_rows_is_encoded_from_its_own_observations(features: bool) -> None:
    rows = rows_of(10, features=features)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    shuffled = rows.select(order)
    for part, places in zip(shuffled.split([4, 6]), order.split([4, 6]), strict=True):
        assert torch.equal(part.encoded(floats), floats(rows.observations).flip(0)[places])
        assert torch.equal(part.actions, rows.actions[places])
        assert part.observations is rows.observations
        assert part.observations["pixels"].dtype == torch.uint8


def test_encoding_in_parts_gives_every_row_once_and_never_holds_more_than_a_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows_module, "PART_ROWS", 4)
    rows = rows_of(10, features=False)
    parts = list(encoded_in_parts(rows.observations, rows.row_index, floats))
    assert [len(part) for part in parts] == [4, 4, 2]
    assert torch.equal(torch.cat(parts), floats(rows.observations).flip(0))


@pytest.mark.parametrize("way", ["analytic", "autograd"])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("observation", [BYTES, FLOATS], ids=["bytes", "floats"])
def test_encoding_in_every_minibatch_trains_to_the_same_bits(
    observation: gym.Space, action: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*, once: bool) -> dict[str, torch.Tensor]:
        monkeypatch.undo()  # so that the gradients are chosen as they are without
        spec = spec_of(observation, ACTIONS[action])
        trainer = Trainer(spec, ppo=PPO, network=SMALL, seed=1, total_steps=1000, gradients=way)
        monkeypatch.setattr(PolicyNetwork, "encodes_once", once)
        train_on, seen = trainer._train_on, []

        def noted(rows: Rows, refresh: Refresh) -> tuple[list[EpochMetrics], list[float]]:
            seen.append((rows.features is not None, rows.observations["observation"].dtype))
            return train_on(rows, refresh)

        monkeypatch.setattr(trainer, "_train_on", noted)
        for update in range(2):
            trainer.update([Received("a", b"a", update, 0, acted(trainer, update, dtype=observation.dtype))])
        assert seen == 2 * [(once, torch.uint8 if observation is BYTES else torch.float32)]
        return trainer.tensors()

    assert_bit_equal(trained(once=True), trained(once=False))
