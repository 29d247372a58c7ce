"""Received rollouts to one batch, the same for every arrival order and every division of slots among actors.

Rollouts, sorted and stitched along time (`stitching`), are laid side by side in one grid with a column per environment
slot. Every array of steps runs by column, then by time. Knows numpy; knows no network and no loss.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dppo.learner.ppo.frames import ended, frame_rows, frames_before
from dppo.protocol.recurrent_state import STATE
from dppo.protocol.rollout import Leaves, Segment


@dataclass(frozen=True)
class Received:
    """One accepted rollout and where it came from."""

    actor: str  # name, for the ratio check and for messages
    incarnation: bytes  # one life of the actor's process
    seq: int  # counts the rollouts of an incarnation
    first_slot: int  # its E environments are the slots first_slot .. first_slot + E - 1
    segment: Segment
    term: int = 0  # of the learner that published the segment's policy; 0: none did
    version: int = 0  # of that policy
    life: int = 0  # of its slots
    parts: tuple[tuple[int, int], ...] = ()  # (rows, version) along time, where it is stitched of several
    # (row, [E, size]) where a stitched one goes on under another policy: the memory's state that came with it
    restarts: tuple[tuple[int, np.ndarray], ...] = ()


@dataclass(frozen=True)
class Grid:
    """All rollouts side by side: N columns, T rows (of the longest one; what shorter ones lack is not valid)."""

    # [R, ...] each: T_c + 1 of every column c, then the final ones, row-major as `truncated`; of stacked leaves then
    # the frames before each column's first row
    observations: Leaves
    frame_rows: Mapping[str, np.ndarray]  # [R, k] int64 of each stacked leaf: its frames that a row is made of
    observed: np.ndarray  # [T + 1, N] bool: which cells the rows before the final observations are
    row_of_step: np.ndarray  # [steps] int64: rows of `observations` (and of what was computed from them)
    actor_of_step: np.ndarray  # [steps] index into `actors`
    actions: Leaves  # [steps, ...] each, as sampled
    masks: Leaves  # [steps, ...] each: which choices were legal
    behaviour_log_probs: np.ndarray  # [steps] float32
    rewards: np.ndarray  # [T, N] float32
    terminated: np.ndarray  # [T, N] bool
    truncated: np.ndarray  # [T, N] bool
    valid: np.ndarray  # [T, N] bool
    actors: tuple[str, ...]  # every actor's name once
    actor_of_column: np.ndarray  # [N] index into `actors`
    env_of_column: np.ndarray  # [N] which of its actor's environments
    slot_of_column: np.ndarray  # [N] int64
    life_of_column: np.ndarray  # [N] int64, one number for each incarnation
    # [S, size] float32 of the memory: at each column's first row, then where the policy changes; [N, 0] without memory
    states: np.ndarray
    state_cells: np.ndarray  # [S, 2] int64: row and column in which each of them is the state before the step
    version_of_step: np.ndarray  # [steps] int64: of the policy that acted

    @property
    def steps(self) -> int:
        """Environment steps in it: the valid cells."""
        return len(self.row_of_step)

    @property
    def rows(self) -> int:
        """R, of `observations`."""
        return int(self.observed.sum() + self.truncated.sum())

    def spread(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values [R] of `observations` as (values [T + 1, N], final values [finals]), as GAE takes them."""
        spread = np.zeros(self.observed.shape, values.dtype)
        count = int(self.observed.sum())
        spread.T[self.observed.T] = values[:count]
        return spread, values[count:]

    def flatten(self, cells: np.ndarray) -> np.ndarray:
        """The valid ones of cells [T, N], as [steps]."""
        rows: np.ndarray = cells.T[self.valid.T]
        return rows

    def cells(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of steps [steps] as cells [T, N], 1 where there is no step."""
        cells: np.ndarray = np.ones(self.valid.shape, rows.dtype)
        cells.T[self.valid.T] = rows
        return cells


class Estimates(NamedTuple):
    """The critic's values of a grid's steps, and the advantages and returns by them."""

    values: np.ndarray  # [steps] float32, before the update
    advantages: np.ndarray  # [steps] float32, not normalised
    returns: np.ndarray  # [steps] float32


def lay_out(rollouts: Sequence[Received]) -> Grid:
    """Rollouts side by side, as `stitching.assemble` returns them."""
    if not rollouts:
        raise ValueError("a batch of no rollouts: an update needs at least one")
    segments = [rollout.segment for rollout in rollouts]
    widths = [s.counts.E for s in segments]
    lengths = np.repeat([s.counts.T for s in segments], widths)  # T of every column
    T, names = int(lengths.max()), tuple(sorted({rollout.actor for rollout in rollouts}))
    place = {name: number for number, name in enumerate(names)}
    actor_of_column = np.repeat([place[rollout.actor] for rollout in rollouts], widths)
    valid = _side_by_side(segments, T, lambda s: s.valid)
    columns, times = np.nonzero(valid.T)
    first_rows = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])  # of every column
    observed = np.arange(T + 1)[:, None] <= lengths
    truncated = _side_by_side(segments, T, lambda s: s.truncated)
    states, state_cells = _states(rollouts)
    return Grid(
        observations={name: _observations(segments, name) for name in segments[0].observations},
        frame_rows=_frame_rows(segments, truncated, observed),
        observed=observed,
        row_of_step=first_rows[columns] + times,
        actor_of_step=actor_of_column[columns],
        actions={name: _of_steps(segments, _action_of(name)) for name in segments[0].actions},
        masks={name: _of_steps(segments, _mask_of(name)) for name in segments[0].masks},
        behaviour_log_probs=_of_steps(segments, lambda s: s.behaviour_log_probs),
        rewards=_side_by_side(segments, T, lambda s: s.rewards),
        terminated=_side_by_side(segments, T, lambda s: s.terminated),
        truncated=truncated,
        valid=valid,
        actors=names,
        actor_of_column=actor_of_column,
        env_of_column=np.concatenate([np.arange(width) for width in widths]),
        slot_of_column=np.concatenate(
            [rollout.first_slot + np.arange(width) for rollout, width in zip(rollouts, widths, strict=True)]
        ),
        life_of_column=np.repeat(np.array([_life_of(rollout.incarnation) for rollout in rollouts], np.int64), widths),
        states=states,
        state_cells=state_cells,
        version_of_step=np.concatenate([_versions_of_steps(rollout) for rollout in rollouts]),
    )


def _states(rollouts: Sequence[Received]) -> tuple[np.ndarray, np.ndarray]:
    """Return Grid.states and Grid.state_cells."""
    starts: list[np.ndarray] = []
    others: list[np.ndarray] = []
    cells: list[tuple[int, int]] = []
    first = 0
    for rollout in rollouts:
        segment = rollout.segment
        envs = segment.counts.E
        starts.append(segment.states.get(STATE, np.empty((envs, 0), np.float32)))
        for row, states in rollout.restarts:
            others.append(states)
            cells += [(row, first + column) for column in range(envs)]
        first += envs
    every = [(0, column) for column in range(first)] + cells
    return np.concatenate([*starts, *others]), np.array(every, np.int64)


def _versions_of_steps(rollout: Received) -> np.ndarray:
    """[steps] int64, in the order of `_of_steps`."""
    valid = rollout.segment.valid
    if not rollout.parts:
        return np.full(np.count_nonzero(valid), rollout.version, np.int64)
    lengths, versions = np.array(rollout.parts, np.int64).T
    of_steps: np.ndarray = np.broadcast_to(np.repeat(versions, lengths), valid.T.shape)[valid.T]
    return of_steps


def _life_of(incarnation: bytes) -> int:
    """A number for one life of an actor's process, int64."""
    return int.from_bytes(hashlib.blake2b(incarnation, digest_size=8).digest(), "little", signed=True)


def _observations(segments: Sequence[Segment], name: str) -> np.ndarray:
    """[R, ...] of a leaf, in the order of Grid.observations."""
    in_columns = [s.observations[name].swapaxes(0, 1) for s in segments]
    blocks = [block.reshape(-1, *block.shape[2:]) for block in in_columns]
    if name in frames_before(segments[0]):
        before = [frames_before(s)[name] for s in segments]
        past = [frames.reshape(-1, *frames.shape[2:]) for frames in before]
    else:
        past = []
    return np.concatenate([*blocks, _finals_in_grid_order(segments, name), *past])


def _frame_rows(segments: Sequence[Segment], truncated: np.ndarray, observed: np.ndarray) -> dict[str, np.ndarray]:
    """[R, k] of each stacked leaf, by name."""
    before = {name: frames.shape[1] for name, frames in frames_before(segments[0]).items()}
    if not before:
        return {}
    over = _side_by_side(segments, len(truncated), ended)
    rows = frame_rows(over, truncated, observed, next(iter(before.values())))
    return dict.fromkeys(before, rows)


def _of_steps(segments: Sequence[Segment], of: Callable[[Segment], np.ndarray]) -> np.ndarray:
    """[steps, ...]: the valid cells of every segment's array [T, E, ...]."""
    return np.concatenate([of(segment).swapaxes(0, 1)[segment.valid.T] for segment in segments])


def _action_of(name: str) -> Callable[[Segment], np.ndarray]:
    return lambda segment: segment.actions[name]


def _mask_of(name: str) -> Callable[[Segment], np.ndarray]:
    return lambda segment: segment.masks[name]


def _side_by_side(segments: Sequence[Segment], T: int, of: Callable[[Segment], np.ndarray]) -> np.ndarray:
    """[T, N]: every segment's array in its own columns, zeros (false) below the shorter ones."""
    blocks = [of(segment) for segment in segments]
    grid = np.zeros((T, sum(block.shape[1] for block in blocks)), blocks[0].dtype)
    column = 0
    for block in blocks:
        grid[: len(block), column : column + block.shape[1]] = block
        column += block.shape[1]
    return grid


def _finals_in_grid_order(segments: Sequence[Segment], observation: str) -> np.ndarray:
    """[finals, ...] of all segments, by time and then by column of the grid."""
    times, columns, first_column = [], [], 0
    for segment in segments:
        t, e = np.nonzero(segment.truncated)
        times.append(t)
        columns.append(first_column + e)
        first_column += segment.counts.E
    order = np.lexsort((np.concatenate(columns), np.concatenate(times)))
    return np.concatenate([segment.final_observations[observation] for segment in segments])[order]
