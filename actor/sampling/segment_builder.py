"""The segment that is being filled, row by row. Knows arrays; knows no environment and no policy."""

import numpy as np

from dppo.actor.envs.interface import Step
from dppo.actor.sampling.episode_stats import Episodes
from dppo.protocol.rollout import Leaves, Segment
from dppo.protocol.specs import Leaf, Spec


class OpenSegment:
    """The rows of the segment that is being filled, in arrays that double when they are full."""

    def __init__(self, spec: Spec, envs: int, capacity: int, observations: Leaves) -> None:
        def arrays(leaves: tuple[Leaf, ...], rows: int) -> Leaves:
            return {leaf.name: np.empty((rows, envs, *leaf.shape), leaf.dtype) for leaf in leaves}

        self.rows = 0
        self.capacity = capacity
        self.observations = arrays(spec.observation, capacity + 1)
        self.masks = arrays(spec.mask, capacity + 1)
        self.actions = arrays(spec.action, capacity)
        self.log_probs, self.rewards, self.successes = np.empty((3, capacity, envs), np.float32)
        self.terminated, self.truncated, self.valid = np.empty((3, capacity, envs), bool)
        self.finals: list[Leaves] = []  # [k, ...] of each step that truncated episodes
        self.metrics: dict[tuple[int, int], np.ndarray] = {}  # [K] by cell (t, e) that ended an episode
        self.own_returns: dict[tuple[int, int], float] = {}  # likewise, where the environment says the episode's return
        self.crashed_cells: list[
            tuple[int, int]
        ] = []  # cells (t, e) that ended an episode because its environment crashed
        self.states: Leaves = {}  # [E, ...] that the policy carries into the first row
        self._no_finals = {leaf.name: np.empty((0, *leaf.shape), leaf.dtype) for leaf in spec.observation}
        self.restart(observations)

    @property
    def steps(self) -> int:
        """Environment steps in the rows: resets are none."""
        return int(np.count_nonzero(self.valid[: self.rows]))

    def restart(self, observations: Leaves) -> None:
        """Begin again without rows, at these observations and masks [E, ...]."""
        self.rows = 0
        self.finals, self.crashed_cells, self.metrics, self.own_returns = [], [], {}, {}
        self._given = {**self.observations, **self.masks}  # what a step gives to act on, a row later than its actions
        for name, array in self._given.items():
            array[0] = observations[name]

    def truncate_column(self, column: int) -> None:
        """End that column's episode with the row before: its environment crashed in the step that is recorded next.

        The last observation there was is its final one. Where the row before is gone with the previous segment, that
        one's last observation, from which the learner bootstraps as well, is the same.
        """
        row = self.rows - 1
        if row >= 0 and self.valid[row, column] and not (self.terminated[row, column] or self.truncated[row, column]):
            last = {name: array[row + 1, column : column + 1].copy() for name, array in self.observations.items()}
            if self.truncated[row].any():
                place = int(self.truncated[row, :column].sum())
                others = self.finals.pop()
                last = {
                    name: np.concatenate([others[name][:place], own, others[name][place:]])
                    for name, own in last.items()
                }
            self.finals.append(last)
            self.truncated[row, column] = True
            self.crashed_cells.append((row, column))
        self.crashed_cells.append((self.rows, column))

    def record(self, actions: Leaves, log_probs: np.ndarray, step: Step) -> None:
        """Copies one step in."""
        row = self.rows
        if row == self.capacity:
            self._grow()
        self.rows = row + 1
        for name, array in self.actions.items():
            array[row] = actions[name]
        for name, array in self._given.items():
            array[row + 1] = step.observations[name]
        self.log_probs[row] = log_probs
        self.rewards[row] = step.rewards
        self.terminated[row] = step.terminated
        self.truncated[row] = step.truncated
        self.valid[row] = step.valid
        self.successes[row] = step.successes
        if step.metrics:
            self.metrics |= {(row, column): numbers for column, numbers in step.metrics.items()}
        if step.own_returns:
            self.own_returns |= {(row, column): told for column, told in step.own_returns.items()}
        for array in step.final_observations.values():
            if len(array):
                self.finals.append({name: final.copy() for name, final in step.final_observations.items()})
                break

    def segment(self, episodes: Episodes) -> Segment:
        """Return the rows so far, as views of arrays that are not written to any more."""
        T = self.rows
        rewards, valid = self.rewards[:T], self.valid[:T]
        ends = self.terminated[:T] | self.truncated[:T]
        told = self.crashed_cells, self.metrics, self.own_returns
        ended = episodes.ended_in(rewards, ends, valid, self.successes[:T], *told)
        return Segment(
            observations={name: array[: T + 1] for name, array in self.observations.items()},
            actions={name: array[:T] for name, array in self.actions.items()},
            masks={name: array[:T] for name, array in self.masks.items()},
            states=self.states,
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
            episode_metrics=ended.metrics,
        )

    def _grow(self) -> None:
        self.capacity *= 2
        longer = self.capacity + 1
        for group, rows in ((self.observations, longer), (self.masks, longer), (self.actions, self.capacity)):
            for name, array in group.items():
                group[name] = _longer(array, rows)
        self._given = {**self.observations, **self.masks}
        self.log_probs, self.rewards, self.successes, self.terminated, self.truncated, self.valid = (
            _longer(array, self.capacity)
            for array in (self.log_probs, self.rewards, self.successes, self.terminated, self.truncated, self.valid)
        )


def _longer(array: np.ndarray, rows: int) -> np.ndarray:
    longer = np.empty((rows, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
