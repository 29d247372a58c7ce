"""Learners that share gradients, with a memory: both ranks end alike, and as one learner of the whole batch does."""

from dataclasses import replace

import pytest
import torch
from gymnasium.spaces import Discrete
from test_memory import GRU, PLAIN, PPO, Sides, made
from test_reduce import on_both, two_ranks
from trainer_batches import assert_bit_equal, weights

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer

WAYS = {
    "whole batch": replace(PPO, minibatch_steps=0),
    "minibatches": PPO,
    "few sequences": replace(PPO, minibatch_steps=1),
    "stops within an epoch": replace(PPO, early_stop_kl=1e-4, early_stop_per="minibatch", learning_rate=0.01),
}


def batches(ppo: PpoConfig) -> tuple[Sides, list[list[Received]]]:
    """One rollout of the same policy for each rank."""
    sides = Sides(made(PLAIN, Discrete(3), "sync"), replace(GRU, bptt_steps=7), ppo=ppo)
    sides.load()
    rollouts = [sides.received(number, rows) for number, rows in ((1, 40), (2, 40))]
    return sides, [[replace(rollout, actor=f"a{rank}", seq=0)] for rank, rollout in enumerate(rollouts)]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_ranks_with_a_memory_end_with_the_same_weights(way: str) -> None:
    sides, parts = batches(WAYS[way])
    trainers = [
        Trainer(sides.environments, ppo=sides.ppo, network=sides.network, seed=1, total_steps=1000, reduce=rank)
        for rank in two_ranks()
    ]
    on_both(lambda number: trainers[number].update(parts[number]))
    assert_bit_equal(trainers[0].tensors(), trainers[1].tensors())
    if way == "whole batch":
        alone = sides.new_trainer()
        alone.update([replace(part[0], incarnation=bytes([rank])) for rank, part in enumerate(parts)])
        torch.testing.assert_close(weights(trainers[0]), weights(alone), rtol=1e-3, atol=1e-5)
