"""Two ranks that reduce end with the same weights; on halves of one batch, with those of a trainer of the whole."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from trainer_batches import CONTINUOUS, DISCRETE, PPO, SMALL, acted, assert_bit_equal

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.reduce import Reduce
from dppo.learner.ppo.running_moments import RunningMoments
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import DppoError
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Spec

PATHS = {
    "clip": PPO,
    "early stop": replace(PPO, early_stop_kl=1e-4, learning_rate=0.01),
    "learning rate by KL": replace(PPO, learning_rate_schedule="kl"),
    "minibatch advantages": replace(PPO, normalise_advantages="minibatch"),
    "penalty": replace(PPO, surrogate="kl_penalty", target_kl=1e-4),
    "critic apart": replace(PPO, critic_learning_rate=1e-3, critic_epochs=2),
    "linear": replace(PPO, learning_rate_schedule="linear", clip_schedule="linear"),
}


class Rank:
    """A Reduce between threads of this process."""

    ranks = 2
    weight = 1.0

    def __init__(self, number: int, barrier: threading.Barrier, given: dict[int, Tensor]) -> None:
        self._number, self._barrier, self._given = number, barrier, given

    def mean(self, numbers: Tensor) -> None:
        self._given[self._number] = numbers.clone()
        self._barrier.wait()
        mean = (self._given[0] + self._given[1]) / 2
        self._barrier.wait()
        numbers.copy_(mean)


def two_ranks() -> list[Rank]:
    barrier, given = threading.Barrier(2, timeout=5.0), dict[int, Tensor]()
    return [Rank(number, barrier, given) for number in range(2)]


def on_both(work: Callable[[int], None]) -> None:
    """Run work(number) in two threads. Raises what either raises."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, number) for number in range(2)]:
            done.result()


def trainer_for(spec: Spec, ppo: PpoConfig, reduce: Reduce | None = None) -> Trainer:
    return Trainer(spec, ppo=ppo, network=SMALL, seed=1, total_steps=2_000, reduce=reduce)


def rollout(number: int, segment: Segment, update: int = 0) -> Received:
    return Received(f"a{number}", bytes([number]), update, 4 * number, segment)


def trained(spec: Spec, ppo: PpoConfig, updates: list[list[Segment]]) -> list[Trainer]:
    """Both ranks after updates; each has its own segment in every update."""
    trainers = [trainer_for(spec, ppo, rank) for rank in two_ranks()]  # here, since torch's exporter is not thread-safe

    def train(number: int) -> None:
        for update, segments in enumerate(updates):
            trainers[number].update([rollout(number, segments[number], update)])

    on_both(train)
    return trainers


def assert_equal(one: Trainer, other: Trainer) -> None:
    assert_bit_equal(one.tensors(), other.tensors())
    assert one.counters() == other.counters()


@pytest.mark.fast(2)
@pytest.mark.parametrize("spec", [CONTINUOUS, DISCRETE], ids=["box", "discrete"])
@pytest.mark.parametrize("ppo", PATHS.values(), ids=PATHS)
def test_ranks_hold_the_same_weights_whatever_their_parts_are(ppo: PpoConfig, spec: Spec) -> None:
    maker = trainer_for(spec, ppo)
    updates = [[acted(maker, 10 * update + n, T=8 + 5 * n) for n in range(2)] for update in range(3)]
    one, other = trained(spec, ppo, updates)
    assert_equal(one, other)
    assert one.counters()["steps_trained"] == 3 * 4 * (8 + 13)
    assert not torch.equal(one.tensors()["policy.body.0.weight"], maker.tensors()["policy.body.0.weight"])


@pytest.mark.parametrize("surrogate", ["clip", "kl_penalty"])
def test_ranks_on_halves_of_a_batch_train_as_one_learner_on_the_whole(surrogate: str) -> None:
    """Without a shuffle, since ranks shuffle their own rows."""
    ppo = replace(PPO, minibatch_steps=0, surrogate=surrogate, learning_rate_schedule="kl")
    whole, updates = trainer_for(CONTINUOUS, ppo), []
    for update in range(4):
        updates.append([acted(whole, 10 * update + number) for number in range(2)])
        whole.update([rollout(number, segment, update) for number, segment in enumerate(updates[-1])])
    for rank in trained(CONTINUOUS, ppo, updates):
        assert rank.counters() == pytest.approx(whole.counters())
        expected = whole.tensors()
        for name, tensor in rank.tensors().items():
            torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("surrogate", ["clip", "kl_penalty"])
def test_ranks_on_unequal_parts_of_a_batch_train_as_one_learner_on_the_whole(surrogate: str) -> None:
    """Rows count alike, whichever rank they are on."""
    ppo = replace(PPO, minibatch_steps=0, surrogate=surrogate, learning_rate_schedule="kl", entropy_coefficient=0.1)
    whole, updates = trainer_for(CONTINUOUS, ppo), []
    for update in range(4):
        updates.append([acted(whole, 10 * update + number, T=4 + 12 * number) for number in range(2)])
        whole.update([rollout(number, segment, update) for number, segment in enumerate(updates[-1])])
    for rank in trained(CONTINUOUS, ppo, updates):
        assert rank.counters() == pytest.approx(whole.counters())
        expected = whole.tensors()
        for name, tensor in rank.tensors().items():
            torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=1e-4, msg=name)


def test_rows_that_one_rank_leaves_out_do_not_part_them() -> None:
    maker = trainer_for(CONTINUOUS, PPO)
    segments = [acted(maker, number) for number in range(2)]
    log_probs = segments[1].behaviour_log_probs.copy()
    log_probs[:4] = -1e30
    one, other = trained(CONTINUOUS, PPO, [[segments[0], replace(segments[1], behaviour_log_probs=log_probs)]])
    assert_equal(one, other)


def test_a_rank_that_has_nothing_to_train_on_keeps_both_as_they_were() -> None:
    maker = trainer_for(CONTINUOUS, PPO)
    segments = [acted(maker, number) for number in range(2)]
    absurd = replace(segments[1], behaviour_log_probs=np.full((8, 4), -1e30, np.float32))
    one, other = trained(CONTINUOUS, PPO, [[segments[0], absurd]])
    assert_equal(one, other)
    for name, parameter in maker.policy.named_parameters():
        assert torch.equal(parameter, dict(one.policy.named_parameters())[name])


def test_divergence_ends_both() -> None:
    ppo = replace(PPO, learning_rate=1e30, max_grad_norm=0.0, epochs=20)
    maker = trainer_for(CONTINUOUS, ppo)
    with pytest.raises(DppoError, match="training diverged"):
        trained(CONTINUOUS, ppo, [[acted(maker, number) for number in range(2)]])


@pytest.mark.parametrize("sizes", [(5, 3), (0, 4), (0, 0)])
def test_joint_moments_are_those_of_all_samples(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(100.0, 2.0, (size, 3)) for size in sizes]
    whole = RunningMoments((3,))
    whole.update(np.concatenate(parts))
    merged = [RunningMoments((3,)) for _ in range(2)]
    ranks = two_ranks()
    on_both(lambda number: merged[number].update(parts[number], ranks[number]))
    for moments in merged:
        assert moments.count == whole.count
        np.testing.assert_allclose(moments.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(moments.variance, whole.variance, rtol=1e-9)
        assert math.isfinite(moments.variance.sum())
