"""Rewards that are trained on: as paid, shaped, divided by the running std of discounted returns, clipped.

Knows numpy and grids; knows no network. With g_t = gamma g_{t-1} + r_t of each environment slot, 0 where an episode
begins, rewards are divided by sqrt(Var(g) + 1e-8) over the run so far, this batch included. They are not centred: that
would change what is optimal. (Engstrom et al. 2020, arXiv 2005.12729; NormalizeReward of gymnasium.)
"""

from collections.abc import Mapping

import numpy as np

from dppo.learner.ppo.batch import Grid
from dppo.learner.ppo.outliers import merge_clipped, scale_of
from dppo.learner.ppo.reduce import Reduce
from dppo.learner.ppo.reward_shaping import rewards_to_train_on
from dppo.learner.ppo.running_moments import RunningMoments
from dppo.learner.ppo_config import PpoConfig

EPSILON = 1e-8
MOST = 1e30  # of a reward in a sum, so that no sum is infinite
MOMENTS = "reward_scale."  # groups of a checkpoint's arrays
CARRIED = "carried_returns."


class Rewards:
    """Rewards of one run. Knows of each slot the discounted return of the episode that goes on in it."""

    def __init__(self, ppo: PpoConfig, reduce: Reduce | None = None) -> None:
        self._ppo, self._reduce = ppo, reduce
        self._moments = RunningMoments(())
        self._carried: dict[int, tuple[int, float]] = {}  # by slot: life of the actor, discounted return

    def to_train_on(self, grid: Grid, new: Grid | None = None) -> np.ndarray:
        """[T, N] float32 of the grid. Merges the batch's discounted returns: once a batch.

        new: the grid of the batch alone, where earlier ones are in `grid` too, which have been merged before.
        """
        ppo, new = self._ppo, new or grid
        rewards = self._shaped(grid)
        if ppo.normalise_rewards and np.isfinite(new.flatten(new.rewards)).all():  # else the batch is refused
            fresh = rewards if new is grid else self._shaped(new)
            self._merge(new, np.clip(fresh.astype(np.float64), -MOST, MOST))
            rewards = (rewards * self._moments.scale(EPSILON)).astype(np.float32)
        return np.clip(rewards, -ppo.reward_clip, ppo.reward_clip) if ppo.reward_clip else rewards

    def _shaped(self, grid: Grid) -> np.ndarray:
        ppo = self._ppo
        return rewards_to_train_on(
            grid.rewards,
            grid.terminated,
            offset=ppo.reward_offset,
            scale=ppo.reward_scale,
            terminal=ppo.terminal_reward,
        )

    def _merge(self, grid: Grid, rewards: np.ndarray) -> None:
        """Go on with every slot's discounted return and merge all of them; rewards [T, N] float64."""
        returns = np.zeros_like(rewards)
        lasts: dict[int, tuple[int, float]] = {}
        for columns in _in_rounds(grid.slot_of_column):
            owners = [(int(grid.slot_of_column[c]), int(grid.life_of_column[c])) for c in columns]
            known = [lasts.get(slot) or self._carried.get(slot, (life, 0.0)) for slot, life in owners]
            start = [value if of == life else 0.0 for (of, value), (_, life) in zip(known, owners, strict=True)]
            part, last = discounted_returns(
                rewards[:, columns],
                (grid.terminated | grid.truncated)[:, columns],
                grid.valid[:, columns],
                np.array(start),
                self._ppo.gamma,
            )
            returns[:, columns] = part
            lasts |= {slot: (life, float(value)) for (slot, life), value in zip(owners, last, strict=True)}
        flat = grid.flatten(returns)
        scale = scale_of(self._moments, flat)
        low, high = scale.limits()
        merge_clipped(self._moments, flat, scale, self._reduce)
        self._carried |= {slot: (life, float(np.clip(last, low, high))) for slot, (life, last) in lasts.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all of it for a checkpoint; nothing where rewards are not normalised."""
        if not self._ppo.normalise_rewards:
            return {}
        slots = sorted(self._carried)
        carried = {
            "slots": np.array(slots, np.int64),
            "lives": np.array([self._carried[slot][0] for slot in slots], np.int64),
            "returns": np.array([self._carried[slot][1] for slot in slots], np.float64),
        }
        moments = {f"{MOMENTS}{name}": array for name, array in self._moments.arrays().items()}
        return moments | {f"{CARRIED}{name}": array for name, array in carried.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from there; `arrays` may hold others too."""
        if self._ppo.normalise_rewards:
            own = {name.removeprefix(MOMENTS): array for name, array in arrays.items() if name.startswith(MOMENTS)}
            self._moments = RunningMoments.from_arrays(own)
            columns = [arrays[f"{CARRIED}{name}"].tolist() for name in ("slots", "lives", "returns")]
            self._carried = {slot: (life, value) for slot, life, value in zip(*columns, strict=True)}


def discounted_returns(
    rewards: np.ndarray, ends: np.ndarray, valid: np.ndarray, start: np.ndarray, gamma: float
) -> tuple[np.ndarray, np.ndarray]:
    """(g [T, N] of every step, g [N] to go on with) of rewards [T, N], start [N]; ends and valid [T, N] bool.

    A row that is not valid is no step, and g stays what it is.
    """
    returns, running = np.zeros_like(rewards), start
    for t in range(len(rewards)):
        running = np.where(valid[t], gamma * running + rewards[t], running)
        returns[t] = running
        running = np.where(ends[t], 0.0, running)
    return returns, running


def _in_rounds(slots: np.ndarray) -> list[np.ndarray]:
    """Columns [n] each, in order, so that no slot is twice in one of them."""
    rounds: list[list[int]] = []
    seen: dict[int, int] = {}
    for column, slot in enumerate(slots.tolist()):
        number = seen[slot] = seen.get(slot, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(column)
    return [np.array(columns) for columns in rounds]
