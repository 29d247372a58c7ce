"""A batch as sequences of a memory, against a memory that is run step by step."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dppo.learner.models.memory import Memory
from dppo.learner.ppo.batch import Grid, Received, lay_out
from dppo.learner.ppo.recurrence import run_over
from dppo.learner.ppo.sequences import Sequences
from dppo.learner.ppo.stitching import assemble
from dppo.protocol.rollout import Segment

FEATURES, WIDTH = 3, 4


def memory_of(kind: Any = "gru", seed: int = 1) -> Memory:
    return Memory(kind, FEATURES, WIDTH, torch.Generator().manual_seed(seed))


def segment_of(rng: np.random.Generator, memory: Memory, T: int, E: int) -> Segment:
    """Random flags: ends of both kinds, and rows that are resets."""
    end = rng.integers(0, 9, (T, E))
    valid = end != 2
    valid[1:] |= (end[:-1] > 1) & (rng.random((T - 1, E)) < 0.5)
    terminated, truncated = valid & (end == 0), valid & (end == 1)
    none = np.zeros(0, np.float32)
    return Segment(
        observations={"observation": rng.normal(size=(T + 1, E, FEATURES)).astype(np.float32)},
        actions={"action": np.zeros((T, E), np.int64)},
        masks={},
        states={"state": rng.normal(size=(E, memory.size)).astype(np.float32)},
        behaviour_log_probs=np.zeros((T, E), np.float32),
        rewards=np.zeros((T, E), np.float32),
        terminated=terminated,
        truncated=truncated,
        valid=valid,
        final_observations={"observation": rng.normal(size=(int(truncated.sum()), FEATURES)).astype(np.float32)},
        episode_returns=none,
        episode_lengths=none.astype(np.int32),
        episode_columns=none.astype(np.int32),
        episode_successes=none,
    )


def step_by_step(segment: Segment, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
    """(features [T + 1, E, width], final ones [finals, width], states before each row [T + 1, E, size])."""
    T, E = segment.rewards.shape
    observations = torch.from_numpy(segment.observations["observation"])
    finals = iter(torch.from_numpy(segment.final_observations["observation"]))
    state, resets = torch.from_numpy(segment.states["state"]), torch.zeros(E, dtype=torch.bool)
    features, last, states = [], [], []
    for t in range(T + 1):
        states.append(state.masked_fill(resets.unsqueeze(1), 0.0))
        output, state = memory(observations[t], state, resets)
        features.append(output)
        if t == T:
            break
        ended = np.flatnonzero(segment.truncated[t]).tolist()
        last += [memory(next(finals)[None], state[e : e + 1], torch.zeros(1, dtype=torch.bool))[0] for e in ended]
        resets = torch.from_numpy(segment.terminated[t] | segment.truncated[t] | ~segment.valid[t])
    return torch.stack(features), torch.cat([*last, features[0][:0]]), torch.stack(states)


def needed(grid: Grid) -> np.ndarray:
    """[R] bool: rows whose features anything reads: steps, last rows that no end precedes, final ones."""
    T, _ = grid.valid.shape
    cells = np.concatenate([grid.valid, grid.valid[-1:] & ~(grid.terminated | grid.truncated)[-1:]])
    assert cells.shape[0] == T + 1
    return np.concatenate([cells.T[grid.observed.T], np.ones(int(grid.truncated.sum()), bool)])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("lengths", [(5, 17), (17, 5, 16), (1, 2)])
def test_a_segment_beside_a_longer_one_is_remembered_as_it_is_alone(kind: str, lengths: tuple[int, ...]) -> None:
    memory, rng = memory_of(kind), np.random.default_rng(3)
    segments = [replace(segment_of(rng, memory, T, 3), valid=np.ones((T, 3), bool)) for T in lengths]
    rollouts = [Received("a", bytes([i]), 1, 3 * i, segment) for i, segment in enumerate(segments)]
    together = lay_out(rollouts)
    past = run_over(together, memory, torch.from_numpy(together.observations["observation"]), 4)
    values, finals = together.spread(past.features.sum(1).numpy())
    for place, rollout in enumerate(rollouts):
        grid = lay_out([rollout])
        alone = run_over(grid, memory, torch.from_numpy(grid.observations["observation"]), 4)
        expected, _ = grid.spread(alone.features.sum(1).numpy())
        end = lengths[place] + 1  # with the observation behind the last step, whose value is what the rest is worth
        np.testing.assert_allclose(values[:end, 3 * place : 3 * place + 3], expected, rtol=1e-5, atol=1e-6)
    assert len(finals) == sum(int(segment.truncated.sum()) for segment in segments)


@torch.no_grad()
def agree(kind: str, T: int, E: int, bptt_steps: int, seed: int) -> None:
    memory, rng = memory_of(kind, seed), np.random.default_rng(seed)
    segment = segment_of(rng, memory, T, E)
    grid = lay_out([Received("a", b"1", 1, 0, segment)])
    if not grid.steps:
        return
    features = torch.from_numpy(grid.observations["observation"])
    past = run_over(grid, memory, features, bptt_steps)
    expected, finals, states = step_by_step(segment, memory)
    both = torch.cat([expected.transpose(0, 1).reshape(-1, WIDTH), finals])
    where = torch.from_numpy(needed(grid))
    torch.testing.assert_close(past.features[where], both[where], rtol=1e-5, atol=1e-6)
    lengths, starts = past.sequences
    assert lengths.sum() == grid.steps
    assert not bptt_steps or lengths.max() <= bptt_steps
    columns, times = np.nonzero(grid.valid.T)
    firsts = past.sequences.firsts
    torch.testing.assert_close(starts, states[times[firsts], columns[firsts]], rtol=1e-5, atol=1e-6)
    again = past.sequences.remembered(memory, features[torch.from_numpy(grid.row_of_step)])
    torch.testing.assert_close(again, past.features[torch.from_numpy(grid.row_of_step)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("bptt_steps", [0, 1, 3])
def test_sequences_remember_what_a_memory_does_step_by_step(kind: str, bptt_steps: int) -> None:
    agree(kind, 17, 5, bptt_steps, 1)


@pytest.mark.slow
@given(
    kind=st.sampled_from(["gru", "lstm"]),
    T=st.integers(1, 30),
    E=st.integers(1, 5),
    bptt_steps=st.integers(0, 9),
    seed=st.integers(0, 2**20),
)
def test_sequences_remember_as_step_by_step_whatever_ends(
    kind: str, T: int, E: int, bptt_steps: int, seed: int
) -> None:
    agree(kind, T, E, bptt_steps, seed)


def test_gradients_flow_through_whole_sequences_and_not_over_a_cut() -> None:
    memory, rng = memory_of(), np.random.default_rng(1)
    segment = segment_of(rng, memory, 6, 2)
    flags = np.zeros((6, 2), bool)
    segment = replace(segment, terminated=flags, truncated=flags, valid=~flags)
    segment = replace(segment, final_observations={"observation": np.zeros((0, FEATURES), np.float32)})
    grid = lay_out([Received("a", b"1", 1, 0, segment)])
    for bptt_steps, reaches in ((0, 6), (4, 2)):
        with torch.no_grad():
            past = run_over(grid, memory, torch.from_numpy(grid.observations["observation"]), bptt_steps)
        given = torch.from_numpy(grid.observations["observation"])[torch.from_numpy(grid.row_of_step)].requires_grad_()
        outputs = past.sequences.remembered(memory, given)
        outputs[5].sum().backward()
        assert given.grad is not None
        assert given.grad[:6].any(dim=1).tolist() == [False] * (6 - reaches) + [True] * reaches
        assert not given.grad[6:].any()


def test_minibatches_are_of_whole_sequences_and_nearly_equal() -> None:
    lengths = np.array([9, 1, 1, 1, 20, 3, 3, 2, 8])
    sequences = Sequences(lengths, torch.zeros(len(lengths), 1))
    order = np.random.default_rng(1).permutation(len(lengths))
    for count in range(1, 12):
        parts = sequences.parts(count, order)
        assert len(parts) == min(count, len(lengths))
        assert np.concatenate(parts).tolist() == order.tolist()
    assert sorted(int(lengths[part].sum()) for part in sequences.parts(2, order)) == [16, 32]


def test_a_pack_has_first_steps_first_and_the_longest_sequences_first() -> None:
    sequences = Sequences(np.array([2, 1, 3]), torch.tensor([[0.0], [1.0], [2.0]]))
    rows, pack = sequences.packed(np.array([1, 2, 0]))
    assert rows.tolist() == [3, 0, 2, 4, 1, 5]
    assert pack.sizes == [3, 2, 1]
    assert pack.starts.tolist() == [[2.0], [0.0], [1.0]]


@torch.no_grad()
@pytest.mark.parametrize("bptt_steps", [0, 3])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("seed", range(4))
def test_where_the_policy_changes_a_sequence_goes_on_with_the_actors_own_state(
    kind: str, bptt_steps: int, seed: int
) -> None:
    memory, rng = memory_of(kind), np.random.default_rng(seed)
    segments = [segment_of(rng, memory, T, 3) for T in (6, 4, 5)]
    for earlier, later in pairwise(segments):
        later.observations["observation"][0] = earlier.observations["observation"][-1]
        over = earlier.terminated[-1] | earlier.truncated[-1] | ~earlier.valid[-1]
        later.states["state"][over] = 0.0
    versions = (7, 8, 9)
    batch = [Received("a", b"1", n, 0, s, 1, v) for n, (s, v) in enumerate(zip(segments, versions, strict=True), 1)]
    (whole,) = assemble(batch[::-1])
    assert [row for row, _ in whole.restarts] == [6, 10]
    grid = lay_out([whole])
    past = run_over(grid, memory, torch.from_numpy(grid.observations["observation"]), bptt_steps)
    values, _ = grid.spread(past.features.sum(1).numpy())
    first = 0
    for segment in segments:
        expected, _, _ = step_by_step(segment, memory)
        steps = segment.counts.T
        where = segment.valid
        np.testing.assert_allclose(
            values[first : first + steps][where], expected.sum(2)[:steps].numpy()[where], rtol=1e-5, atol=1e-5
        )
        first += steps
    assert past.sequences.lengths.sum() == grid.steps


def test_where_the_policy_stays_a_sequence_goes_on_with_the_learners_own_state() -> None:
    memory, rng = memory_of(), np.random.default_rng(1)
    first, second = segment_of(rng, memory, 4, 2), segment_of(rng, memory, 4, 2)
    second.observations["observation"][0] = first.observations["observation"][-1]
    for policy, starts in (((1, 1), 2), ((1, 2), 4), ((2, 1), 4)):
        batch = [Received("a", b"1", 1, 0, first, 1, 1), Received("a", b"1", 2, 0, second, *policy)]
        (whole,) = assemble(batch)
        assert len(lay_out([whole]).states) == starts
