"""The memory of the policy that acted in a batch, run over it once before the update. Knows grids; knows no losses."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dppo.learner.models.memory import AnyMemory
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.ppo.batch import Grid
from dppo.learner.ppo.rows import Leaves, encoded_in_parts
from dppo.learner.ppo.sequences import Sequences


class Remembered(NamedTuple):
    """A batch as the memory of the policy that acted in it saw it."""

    features: Tensor  # [R, width] of Grid.observations
    sequences: Sequences  # of its steps


def remember(
    policy: PolicyNetwork, grid: Grid, observations: Leaves, features: Tensor | None, bptt_steps: int
) -> Remembered | None:
    """Return what the policy's memory makes of a batch's observations; None without memory.

    features: [R, f] of the encoder, where they are kept for the batch. bptt_steps: as of `run_over`.
    """
    if policy.memory is None:
        return None
    if features is None:
        every = torch.arange(grid.rows, device=next(policy.parameters()).device)
        features = torch.cat(list(encoded_in_parts(observations, every, policy.encode)))
    return run_over(grid, policy.memory, features, bptt_steps)


def run_over(grid: Grid, memory: AnyMemory, features: Tensor, bptt_steps: int) -> Remembered:
    """Run the memory over the batch once. features: [R, f] of all of its observations; bptt_steps 0: whole sequences.

    Final observations and those after the last step follow the steps before them, as the critic's estimates need it.
    """
    order, firsts, owners = _episodes(grid)
    lengths = np.diff(firsts, append=len(order))
    given = torch.from_numpy(np.concatenate([grid.states, np.zeros_like(grid.states[:1])])).to(features)
    starts = given[_index(owners, features)]  # of -1: the zeros
    rows, pack = Sequences(lengths, starts).packed(np.arange(len(lengths)))
    place = _index(order[rows], features)
    made, states = memory.states_over(features.index_select(0, place), pack.starts, pack.sizes)
    outputs = features.new_zeros(grid.rows, memory.width).index_copy_(0, place, made)
    after = torch.empty_like(states).index_copy_(0, _index(rows, features), states)  # in `order`
    counts = -(-lengths // bptt_steps) if bptt_steps else np.ones_like(lengths)  # pieces of each sequence
    piece = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # which of its sequence's
    begins = np.repeat(firsts, counts) + piece * bptt_steps
    is_step = np.zeros(grid.rows, bool)
    is_step[grid.row_of_step] = True
    steps = np.add.reduceat(is_step[order].astype(np.int64), begins)
    first = torch.from_numpy(piece == 0).to(features.device).unsqueeze(1)
    owner = _index(np.repeat(np.arange(len(lengths)), counts), features)
    pieces = torch.where(first, starts.index_select(0, owner), after[_index(begins - 1, features)])
    trained = np.flatnonzero(steps)
    return Remembered(outputs, Sequences(steps[trained], pieces.index_select(0, _index(trained, features))))


def _episodes(grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (rows of observations, column by column, with final ones behind the steps that they end; where in them
    each sequence begins; which of the grid's states it begins with, -1: zeros).

    A sequence begins with the state that its actor had there: where a column begins, and where another policy took over
    within an episode. In between, states are those of the policy that is asked now.
    """
    T, N = grid.valid.shape
    cut = np.ones((T + 1, N), bool)  # whether a sequence begins with that row
    ended = grid.terminated | grid.truncated | ~grid.valid
    cut[1:] = ended
    # a reset is no step of any episode; the observation behind a column's last step is none either, and goes on
    cut[1:T] |= ~grid.valid[1:] & grid.observed[2:]
    owner = np.full((T + 1, N), -1)
    owner[tuple(grid.state_cells.T)] = np.arange(len(grid.state_cells))
    cut |= owner >= 0
    rows_of_column = grid.observed.sum(axis=0)
    first_rows = np.cumsum(rows_of_column) - rows_of_column
    begins = cut.T[grid.observed.T]
    count = len(begins)
    times, columns = np.nonzero(grid.truncated)
    behind = first_rows[columns] + times + 1
    order = np.insert(np.arange(count), behind, count + np.arange(len(behind)))
    firsts = np.flatnonzero(np.insert(begins, behind, False))
    return order, firsts, owner.T[grid.observed.T][order[firsts]]


def _index(numbers: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(numbers).to(like.device)
