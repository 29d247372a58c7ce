"""A memory under `collect.max_staleness`: steps of several versions, each from the state that its actor had."""

import dataclasses
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from deep_state import deep_state
from shards import fast_first
from test_memory import GRU, PLAIN, PPO, Sides, made
from trainer_batches import assert_bit_equal

from dppo.learner.ppo import burn_in as burn_in_module
from dppo.learner.ppo import packed_rollouts
from dppo.learner.ppo import trainer as trainer_module
from dppo.learner.ppo.batch import Received, lay_out
from dppo.learner.ppo.burn_in import BurnIn
from dppo.learner.ppo.corrections import Correction
from dppo.learner.ppo.stitching import assemble
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.storage import checkpoint

MEMORIES: dict[str, dict[str, Any]] = {
    "gru": {"memory": "gru"},
    "lstm": {"memory": "lstm", "memory_layers": 2, "bptt_steps": 4},
    "own": {"memory": "memory_nets:make_memory", "bptt_steps": 0},
}
CORRECTIONS: tuple[Any, ...] = ("none", "decoupled", "vtrace")
FAST = 3e-3  # learning rate: versions differ


class GoingOn(Sides):
    """An actor that goes on while the learner trains, as with a staleness of K: it is K versions behind at times."""

    def __init__(self, memory: str, correction: Any = "none", action: Any = gym.spaces.Discrete(3)) -> None:
        network = dataclasses.replace(GRU, **MEMORIES[memory])
        ppo = dataclasses.replace(PPO, correction=correction, learning_rate=FAST)
        super().__init__(made(PLAIN, action, "sync"), network, ppo=ppo)
        self.sent = 0

    def rollout(self, rows: int = 7) -> Received:
        self.sent += 1
        return self.received(self.sent, rows)

    def in_hand(self, most: int) -> list[Received]:
        """Rollouts of the newest version and of the `most` ones before it, as many of each, in the order made."""
        batch = []
        for _ in range(most):
            self.load()
            trained = self.rollout()
            batch += [self.rollout(), self.rollout(5)]
            self.trainer.update([trained], self.version)
        self.load()
        return [*batch, self.rollout(), self.rollout(5)]

    def other(self) -> Trainer:
        """A trainer that goes on from a checkpoint of this one."""
        other = self.new_trainer()
        other.load(self.trainer.tensors(), self.trainer.counters())
        return other


@pytest.mark.parametrize(("memory", "most", "correction"), fast_first(product(MEMORIES, (3, 1), CORRECTIONS), 4))
def test_steps_of_the_newest_version_start_at_a_ratio_of_one_and_a_resumed_learner_makes_the_same_update(
    memory: str, most: int, correction: Any
) -> None:
    sides = GoingOn(memory, correction)
    batch = sides.in_hand(most)
    one, resumed, unaware = sides.other(), sides.other(), sides.other()
    assert unaware.update(batch).ratio_excess > 1, "the policy has moved, so this test tests something"
    report = one.update(batch, sides.version)
    assert report.ratio_excess <= 1
    assert report.staleness_max == most
    assert report.steps_left_out == 0
    assert np.isfinite([report.entropy, report.kl, report.grad_norm, report.value_loss]).all()
    resumed.update(batch[::-1], sides.version)
    assert_bit_equal(resumed.tensors(), one.tensors())


def test_a_state_of_another_actor_shows_in_the_ratio_check_where_the_policy_changes() -> None:
    sides = GoingOn("gru", action=gym.spaces.Box(-1, 1, (2,)))
    batch = sides.in_hand(1)
    for number in (2, 3):
        assert batch[number].version == 2
        segment = batch[number].segment
        states = {"state": segment.states["state"] + np.float32(0.5)}
        changed = [*batch]
        changed[number] = dataclasses.replace(batch[number], segment=dataclasses.replace(segment, states=states))
        excess = sides.other().update(changed, 2).ratio_excess
        # of the second rollout of a version the learner takes its own state, which is the same
        assert (excess > 1) == (number == 2), number


def of_steps(trainer: Trainer, batch: list[Received]) -> tuple[list[float], list[float]]:
    """log pi_prox and the critic's values of all steps, one after the other: from each rollout's own state.

    In the order of a grid's steps: by environment, then by time.
    """
    policy, memory = trainer.policy, trainer.policy.memory
    assert memory is not None
    log_probs: list[float] = []
    values: list[float] = []
    for column in range(batch[0].segment.counts.E):
        for rollout in batch:
            segment = rollout.segment
            state = torch.from_numpy(segment.states["state"][column : column + 1].copy())
            begins = torch.zeros(1, dtype=torch.bool)
            for t in range(segment.counts.T):
                observed = {n: torch.from_numpy(a[t, column][None].copy()) for n, a in segment.observations.items()}
                features, state = memory(policy.encode(observed), state, begins)
                actions = {n: torch.from_numpy(a[t, column][None].copy()) for n, a in segment.actions.items()}
                distribution = policy.distribution(features)
                log_probs.append(distribution.log_prob(policy.layout.rows(actions)).item())
                values.append(trainer.critic(features).item())
                begins = torch.from_numpy(segment.terminated[t, [column]] | segment.truncated[t, [column]])
    return log_probs, values


@pytest.mark.fast(3)
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("correction", ["decoupled", "vtrace"])
def test_the_proximal_policy_and_the_critic_go_on_from_the_states_that_came_with_the_rollouts(
    memory: str, correction: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = GoingOn(memory, correction)
    batch = sides.in_hand(2)
    batch = batch[::2]  # one of each version: none goes on where another one stopped
    judged: dict[str, Any] = {}

    def corrected(*given: Any) -> Correction | None:
        judged["correction"] = found = correction_of(*given)
        return found

    def estimated(grid: Any, rewards: Any, outputs: Any, **given: Any) -> Any:
        judged["values"] = grid.flatten(grid.spread(outputs)[0][:-1])
        return estimate(grid, rewards, outputs, **given)

    correction_of, estimate = trainer_module.correction_of, trainer_module.estimated
    monkeypatch.setattr(trainer_module, "correction_of", corrected)
    monkeypatch.setattr(trainer_module, "estimated", estimated)
    with torch.no_grad():
        expected = [of_steps(sides.trainer, [rollout]) for rollout in batch]
    sides.other().update(batch, sides.version)  # which knows of no rollouts before them
    log_probs, values = (np.concatenate([of[which] for of in expected]) for which in (0, 1))
    np.testing.assert_allclose(judged["correction"].old_log_probs, log_probs, atol=1e-4)
    np.testing.assert_allclose(judged["values"], values, atol=1e-4)
    behaviour = np.concatenate([rollout.segment.behaviour_log_probs.T.ravel() for rollout in batch])
    ratios = np.exp(log_probs - behaviour)
    assert np.abs(ratios - 1).max() > 0.01, "the policy has moved, so this test tests something"
    found = judged["correction"].weights if correction == "decoupled" else judged["correction"].ratios
    np.testing.assert_allclose(found, ratios.clip(max=5.0) if correction == "decoupled" else ratios, rtol=1e-3)


def test_traces_go_on_where_the_policy_changes_as_without_a_memory() -> None:
    sides = GoingOn("gru")
    sides.load()
    trained, before = sides.rollout(), sides.rollout()
    sides.trainer.update([trained], 1)
    sides.load()
    after = sides.rollout(5)
    (whole,) = assemble([after, before])
    grid = lay_out([whole])
    assert whole.parts == ((7, 1), (5, 2))
    assert grid.rewards.shape == (12, 3)
    np.testing.assert_array_equal(grid.states[3:], after.segment.states["state"])
    assert grid.state_cells.tolist() == [[0, 0], [0, 1], [0, 2], [7, 0], [7, 1], [7, 2]]


def states_behind(trainer: Trainer, rollouts: list[Received]) -> np.ndarray:
    """States [E, size] of the trainer's policy after these rollouts, step by step from the state of the first."""
    policy, memory = trainer.policy, trainer.policy.memory
    assert memory is not None
    state = torch.from_numpy(rollouts[0].segment.states["state"].copy())
    begins = torch.zeros(len(state), dtype=torch.bool)
    for segment in (rollout.segment for rollout in rollouts):
        for t in range(segment.counts.T):
            observed = {name: torch.from_numpy(leaf[t].copy()) for name, leaf in segment.observations.items()}
            _, state = memory(policy.encode(observed), state, begins)
            begins = torch.from_numpy(segment.terminated[t] | segment.truncated[t])
    return state.masked_fill(begins[:, None], 0.0).numpy()


@pytest.mark.parametrize("rows", [5, 40])
@pytest.mark.parametrize("memory", MEMORIES)
def test_states_that_older_versions_made_are_made_anew_from_the_rollouts_before(memory: str, rows: int) -> None:
    sides, burn_in = GoingOn(memory), BurnIn()
    sides.load()
    before, second, stale = sides.rollout(rows), sides.rollout(3), sides.rollout()
    sides.trainer.update([before], 1)
    sides.load()
    newest, policy = sides.rollout(), sides.trainer.policy
    with torch.no_grad():
        for first in (before, second):
            assert_states(burn_in.refreshed([first], policy, 1), [first])
        found = burn_in.refreshed([stale], policy, 2)
        assert not np.array_equal(found[0].segment.states["state"], stale.segment.states["state"])
        expected = states_behind(sides.trainer, [before, second])
        np.testing.assert_allclose(found[0].segment.states["state"], expected, atol=1e-5)
        assert_states(burn_in.refreshed([newest], policy, 2), [newest])  # as it came, to the last bit
        sides.rollout()
        gap = sides.rollout()
        assert_states(burn_in.refreshed([gap], policy, 3), [gap])  # what came before is not known


@pytest.mark.parametrize("parts", [1, 2])
def test_a_learner_that_goes_on_from_a_checkpoint_remembers_what_came_before(
    parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = GoingOn("gru")
    sides.load()
    before, stale = [sides.rollout() for _ in range(parts)], sides.rollout()
    sides.trainer.update(before, 1)  # stitched to one
    sides.load()
    saved = checkpoint.with_rollouts(sides.trainer.tensors(), past=sides.trainer.past())
    checkpoint.save(tmp_path, 1, saved, {"trainer": sides.trainer.counters()})
    found = checkpoint.read(tmp_path / "00000001")
    resumed, forgetful = sides.new_trainer(), sides.other()
    resumed.load(found.tensors, found.state["trainer"], found.past)
    assert resumed.past() == sides.trainer.past() == found.past
    newest = sides.rollout()
    for trainer in (sides.trainer, resumed, forgetful):
        trainer.update([stale, newest], 2)
    assert_bit_equal(resumed.tensors(), sides.trainer.tensors())
    for one, other in ((resumed._past, sides.trainer._past), (resumed._pace, sides.trainer._pace)):
        assert dict(deep_state(one)) == dict(deep_state(other))
    differ = [not torch.equal(tensor, resumed.tensors()[name]) for name, tensor in forgetful.tensors().items()]
    assert any(differ), "what came before makes no difference, so this test cannot fail"
    monkeypatch.setattr(packed_rollouts, "MOST_BYTES", 100)
    assert sides.trainer.past() == b"", "training does not wait for more than that"


def test_how_long_an_actor_has_been_away_goes_into_the_checkpoint() -> None:
    sides = GoingOn("gru")
    burn_in, policy = BurnIn(), sides.trainer.policy
    sides.load()
    burn_in.refreshed([sides.rollout()], policy, 1)
    for _ in range(burn_in_module.MOST_UPDATES - 1):
        burn_in.refreshed([], policy, 1)
    after = BurnIn()
    after.load(burn_in.packed(sides.spec), burn_in.idle)
    assert after.packed(sides.spec) == burn_in.packed(sides.spec) != b""
    assert after.idle == burn_in.idle == [burn_in_module.MOST_UPDATES - 1]
    for _ in range(2):
        after.refreshed([], policy, 1)
    assert after.packed(sides.spec) == b"", "it is forgotten"


def assert_states(found: list[Received], expected: list[Received]) -> None:
    """Each rollout has the states that it came with."""
    for one, other in zip(found, expected, strict=False):
        np.testing.assert_array_equal(one.segment.states["state"], other.segment.states["state"])


def test_within_a_rollout_an_older_version_goes_on_with_the_policys_own_state_and_the_newest_with_its_actors() -> None:
    sides = GoingOn("gru")
    batch = sides.in_hand(1)
    sides.trainer.update([sides.rollout()], sides.version)
    sides.load()
    (whole,) = assemble([*batch[1:], sides.rollout(), sides.rollout()][:3])
    assert [row for row, _ in whole.restarts] == [5]
    for version, rows in ((2, [5]), (3, [])):
        (found,) = BurnIn().refreshed([whole], sides.trainer.policy, version)
        assert [row for row, _ in found.restarts] == rows, version


def test_as_few_rollouts_are_remembered_as_have_enough_rows() -> None:
    sides, past = GoingOn("gru"), burn_in_module._Past()
    sides.load()
    for _ in range(30):
        past.add(sides.rollout(7))
    assert past.rows == 7 * len(past.rollouts)
    assert burn_in_module.ROWS <= past.rows < burn_in_module.ROWS + 7
