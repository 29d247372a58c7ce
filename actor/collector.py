"""Steps the environments with the policy and cuts what happened into segments. Knows no sockets and no learner."""

from time import perf_counter
from typing import NamedTuple

import numpy as np

from actor.noise import NoiseStream, environment_seeds
from actor.policy import PolicyRunner
from actor.step import Environments, Step
from protocol.rollout import Leaves, Segment
from protocol.specs import Leaf, Spec

FIRST_CAPACITY = 128  # rows; later segments start with room for as many rows as the last one had


class Ended(NamedTuple):
    """Ended episodes, in the order in which they ended."""

    returns: np.ndarray  # float32
    lengths: np.ndarray  # int32
    columns: np.ndarray  # int32
    successes: np.ndarray  # float32, NaN where not reported


NO_EPISODES = Ended(np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))


class Collector:
    """E environments, the policy that acts in them, and the segment that is open.

    The environments run on across segments and policy versions: a segment starts at the observation that the one before
    ended with. They are reset when this object is made, which is before the first policy has arrived.
    """

    def __init__(self, environments: Environments, *, seed: int, first_slot: int, life: int) -> None:
        self.env_seconds = 0.0  # spent in environments; whoever reads it sets it back to 0
        self.policy_seconds = 0.0  # spent on noise and policy, likewise
        self._environments = environments
        self._seed, self._first_slot, self._life = seed, first_slot, life
        self._runner: PolicyRunner | None = None
        self._noise: NoiseStream | None = None
        seeds = environment_seeds(seed, first_slot=first_slot, envs=environments.envs, life=life)
        self._observations = environments.reset(seeds)
        self._open = _OpenSegment(environments.spec, environments.envs, FIRST_CAPACITY, self._observations)
        self._episodes = _Episodes(environments.envs)

    @property
    def rows(self) -> int:
        """Rows in the open segment."""
        return self._open.rows

    @property
    def ended_episode(self) -> bool:
        """Whether the newest row of the open segment ended an episode."""
        last = self.rows - 1
        return last >= 0 and bool(self._open.terminated[last].any() or self._open.truncated[last].any())

    def load(self, runner: PolicyRunner) -> None:
        """Act with this policy from the next step on. A segment has one policy version, so cut the open one first."""
        if self.rows:
            raise ValueError(f"cut the open segment of {self.rows} rows before loading version {runner.version}")
        noise = self._noise
        if noise is None or (noise.kind, noise.size) != (runner.noise_kind, runner.noise_size):
            self._noise = NoiseStream(
                self._seed,
                first_slot=self._first_slot,
                envs=self._environments.envs,
                life=self._life,
                kind=runner.noise_kind,
                size=runner.noise_size,
            )
        self._runner = runner

    def step(self) -> None:
        """One step of all environments: noise, policy, environments, record."""
        if self._runner is None or self._noise is None:
            raise ValueError("load a policy before the first step")
        start = perf_counter()
        actions, env_action, log_probs = self._runner.act(self._observations, self._noise.next())
        acted = perf_counter()
        step = self._environments.step(env_action)
        stepped = perf_counter()
        self.policy_seconds += acted - start
        self.env_seconds += stepped - acted
        self._open.record(actions, log_probs, step)
        self._observations = step.observations

    def cut(self) -> Segment | None:
        """End the open segment and hand it out; its arrays are the caller's. None where it has no valid step.

        Rows that are all resets are discarded: they carry no reward and no end of an episode, and the next segment
        starts at the observation after them.
        """
        rows = self._open
        segment = rows.segment(self._episodes) if rows.valid[: rows.rows].any() else None
        if segment is None:
            rows.restart(self._observations)
        else:
            spec, envs = self._environments.spec, self._environments.envs
            self._open = _OpenSegment(spec, envs, rows.rows, self._observations)
        return segment

    def discard(self) -> int:
        """End the open segment and throw it away. Returns its steps; the next segment tells of its ended episodes."""
        segment = self.cut()
        if segment is None:
            return 0
        self._episodes.tell_later(segment)
        return segment.steps


class _OpenSegment:
    """The rows of the segment that is being filled, in arrays that double when they are full."""

    def __init__(self, spec: Spec, envs: int, capacity: int, observations: Leaves) -> None:
        def arrays(leaves: tuple[Leaf, ...], rows: int) -> Leaves:
            return {leaf.name: np.empty((rows, envs, *leaf.shape), leaf.dtype) for leaf in leaves}

        self.rows = 0
        self.capacity = capacity
        self.observations = arrays(spec.observation, capacity + 1)
        self.actions = arrays(spec.action, capacity)
        self.log_probs, self.rewards, self.successes = np.empty((3, capacity, envs), np.float32)
        self.terminated, self.truncated, self.valid = np.empty((3, capacity, envs), bool)
        self.finals: list[Leaves] = []  # of the steps that truncated an episode
        self._no_finals = {leaf.name: np.empty((0, *leaf.shape), leaf.dtype) for leaf in spec.observation}
        self.restart(observations)

    def restart(self, observations: Leaves) -> None:
        """No rows, starting at these observations [E, ...]."""
        self.rows = 0
        self.finals = []
        for name, array in self.observations.items():
            array[0] = observations[name]

    def record(self, actions: Leaves, log_probs: np.ndarray, step: Step) -> None:
        """Copies one step in."""
        row = self.rows
        if row == self.capacity:
            self._grow()
        self.rows = row + 1
        for name, array in self.actions.items():
            array[row] = actions[name]
        for name, array in self.observations.items():
            array[row + 1] = step.observations[name]
        self.log_probs[row] = log_probs
        self.rewards[row] = step.rewards
        self.terminated[row] = step.terminated
        self.truncated[row] = step.truncated
        self.valid[row] = step.valid
        self.successes[row] = step.successes
        if any(map(len, step.final_observations.values())):
            self.finals.append({name: array.copy() for name, array in step.final_observations.items()})

    def segment(self, episodes: "_Episodes") -> Segment:
        """The rows so far, as views of arrays that nobody writes to any more."""
        T = self.rows
        rewards, valid = self.rewards[:T], self.valid[:T]
        ended = episodes.ended_in(rewards, self.terminated[:T] | self.truncated[:T], valid, self.successes[:T])
        return Segment(
            observations={name: array[: T + 1] for name, array in self.observations.items()},
            actions={name: array[:T] for name, array in self.actions.items()},
            masks={},
            states={},
            behaviour_log_probs=self.log_probs[:T],
            rewards=rewards,
            terminated=self.terminated[:T],
            truncated=self.truncated[:T],
            valid=valid,
            final_observations={
                name: np.concatenate([none, *(final[name] for final in self.finals)])
                for name, none in self._no_finals.items()
            },
            episode_returns=ended.returns,
            episode_lengths=ended.lengths,
            episode_columns=ended.columns,
            episode_successes=ended.successes,
        )

    def _grow(self) -> None:
        self.capacity *= 2
        for group, rows in ((self.observations, self.capacity + 1), (self.actions, self.capacity)):
            for name, array in group.items():
                group[name] = _longer(array, rows)
        self.log_probs, self.rewards, self.successes, self.terminated, self.truncated, self.valid = (
            _longer(array, self.capacity)
            for array in (self.log_probs, self.rewards, self.successes, self.terminated, self.truncated, self.valid)
        )


class _Episodes:
    """Return and length of the running episodes, carried from segment to segment.

    Worked out once a segment, for all its rows together: adding up in every step would cost as much as recording it.
    """

    def __init__(self, envs: int) -> None:
        self._returns = np.zeros(envs)  # [E] so far, undiscounted, float64
        self._lengths = np.zeros(envs, np.int64)  # [E] so far, in steps
        self._untold = NO_EPISODES

    def tell_later(self, segment: Segment) -> None:
        """Say again with the next segment which episodes ended in this one."""
        self._untold = Ended(
            segment.episode_returns, segment.episode_lengths, segment.episode_columns, segment.episode_successes
        )

    def ended_in(self, rewards: np.ndarray, ended: np.ndarray, valid: np.ndarray, successes: np.ndarray) -> Ended:
        """The episodes that are still to be told, then those that ended in these rows [T, E], by row."""
        T, E = ended.shape
        ends = np.flatnonzero(ended.T)  # column by column, so that an episode is one piece
        column_starts = np.arange(E) * T
        starts = np.union1d(column_starts, ends + 1)
        starts = starts[starts < T * E]
        first = np.searchsorted(starts, column_starts)  # each column's first and last piece
        last = np.append(first[1:], len(starts)) - 1
        returns = np.add.reduceat(rewards.T.reshape(-1).astype(np.float64), starts)
        lengths = np.add.reduceat(valid.T.reshape(-1).astype(np.int64), starts)
        returns[first] += self._returns
        lengths[first] += self._lengths
        self._returns = np.where(ended[-1], 0.0, returns[last])
        self._lengths = np.where(ended[-1], 0, lengths[last])
        columns, rows = np.divmod(ends, T)
        order = np.lexsort((columns, rows))
        pieces = np.searchsorted(starts, ends[order], side="right") - 1
        told, self._untold = self._untold, NO_EPISODES
        return Ended(
            np.append(told.returns, returns[pieces].astype(np.float32)),
            np.append(told.lengths, lengths[pieces].astype(np.int32)),
            np.append(told.columns, columns[order].astype(np.int32)),
            np.append(told.successes, successes.T.reshape(-1)[ends[order]]),
        )


def _longer(array: np.ndarray, rows: int) -> np.ndarray:
    longer = np.empty((rows, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
