"""Advantages and targets of each epoch, against a plain loop with the critic of that moment."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from trainer_batches import PPO, acted, batch_for, make_trainer

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.gradients import KlPenalty, Outputs
from dppo.learner.ppo.rows import Rows
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.errors import UsageError

GAMMA, LAMBDA = 0.9, 0.8
PLAIN = replace(
    PPO,
    gamma=GAMMA,
    gae_lambda=LAMBDA,
    epochs=3,
    minibatch_steps=0,
    learning_rate=0.03,
    normalise_advantages="none",
    normalise_values=False,
    recompute_advantages=True,
)


def by_a_plain_loop(trainer: Trainer, rollout: Received) -> list[float]:
    """Advantages of a segment, column by column, by the recursion of GAE in plain numbers."""
    segment = rollout.segment

    def value(observation: np.ndarray) -> float:
        with torch.no_grad():
            features = trainer.policy.encode({"observation": torch.from_numpy(observation[None])})
            return trainer.critic(features).item()

    T, E = segment.rewards.shape
    finals = {cell: i for i, cell in enumerate(zip(*np.nonzero(segment.truncated), strict=True))}
    observations, advantages = segment.observations["observation"], []
    for e in range(E):
        column, later = [], 0.0
        for t in range(T - 1, -1, -1):
            if segment.terminated[t, e]:
                following, later = 0.0, 0.0
            elif segment.truncated[t, e]:
                following, later = value(segment.final_observations["observation"][finals[t, e]]), 0.0
            else:
                following = value(observations[t + 1, e])
            delta = float(segment.rewards[t, e]) + GAMMA * following - value(observations[t, e])
            later = delta + GAMMA * LAMBDA * later
            column.append(later)
        advantages += column[::-1]
    return advantages


def test_each_epoch_has_the_advantages_of_the_critic_that_it_begins_with(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(ppo=PLAIN)
    rollout = Received("a", b"a", 0, 0, acted(trainer, 3))
    gradients, seen, expected = trainer._steps._gradients, [], []
    taken = gradients.both

    def both(rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        seen.append((rows.advantages.clone(), rows.targets.clone(), rows.limits.clone()))
        expected.append(torch.tensor(by_a_plain_loop(trainer, rollout)))
        taken(rows, outputs, penalty)

    monkeypatch.setattr(gradients, "both", both)
    trainer.update([rollout])
    assert len(seen) == 3
    for (advantages, targets, limits), slow in zip(seen, expected, strict=True):
        torch.testing.assert_close(advantages, slow, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(limits, slow + 0.2 * slow.abs(), atol=1e-4, rtol=1e-4)
        assert not torch.equal(targets, advantages)
    assert (seen[1][0] - seen[0][0]).abs().max() > 1e-3


@pytest.mark.parametrize("surrogate", ["clip", "kl_penalty"])
def test_rows_that_are_left_out_stay_out_and_shuffled_ones_keep_their_own(
    surrogate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ppo = replace(PLAIN, surrogate=surrogate, minibatch_steps=16, normalise_advantages="batch", normalise_values=True)
    trainer = make_trainer(ppo=replace(ppo, dual_clip=3.0 if surrogate == "clip" else 0.0))
    batch = batch_for(trainer)
    batch[1].segment.behaviour_log_probs[2:4] += 50.0  # no policy of ours gave them
    gradients, pairs = trainer._steps._gradients, []
    taken = gradients.both

    def both(rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        pairs.append(rows)
        taken(rows, outputs, penalty)

    monkeypatch.setattr(gradients, "both", both)
    report = trainer.update(batch)
    assert report.steps_left_out == 8
    epochs: list[dict[int, Tensor]] = [{}, {}, {}]
    for index, rows in enumerate(pairs):
        for row, advantage, old in zip(rows.row_index.tolist(), rows.advantages, rows.old_log_probs, strict=True):
            epochs[index * 3 // len(pairs)][row] = torch.stack([advantage, old])
    assert [len(epoch) for epoch in epochs] == [88, 88, 88]
    assert all(torch.equal(epochs[0][row][1], epochs[2][row][1]) for row in epochs[0])
    moved = torch.stack([epochs[2][row][0] - epochs[0][row][0] for row in epochs[0]]).abs()
    assert 0 < moved.mean() < 1


def test_a_critic_that_is_trained_after_the_policy_has_nothing_to_recompute() -> None:
    with pytest.raises(UsageError, match=r"ppo\.critic_epochs=2"):
        PpoConfig(recompute_advantages=True, critic_epochs=2)
