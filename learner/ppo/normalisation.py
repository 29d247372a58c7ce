"""The running moments of a run: of observations, of returns and of rewards, and what training believes by them.

Knows numpy and grids; knows no network and no optimizer.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dppo.learner.ppo.batch import Grid
from dppo.learner.ppo.outliers import (
    DEVIATIONS,
    Extremes,
    Outlier,
    Scale,
    extremes_of,
    merge_clipped,
    outliers_of,
    scale_of,
)
from dppo.learner.ppo.reduce import Reduce
from dppo.learner.ppo.running_moments import RunningMoments

EPSILON = 1e-8
ARRAYS = ("count", "mean", "squares")


class _Acted(NamedTuple):
    """Observations of a batch that were acted on, side by side."""

    grid: Grid
    samples: np.ndarray  # [n, f]
    extremes: Extremes | None  # None of none


ARRAYS = ("count", "mean", "squares")


class Moments:
    """Running moments of all observations, values and rewards that a run has trained on so far."""

    def __init__(self, features: int, leaves: Sequence[str], reduce: Reduce | None = None) -> None:
        """leaves: names of the observation leaves that are merged, side by side; features: width of all of them."""
        self.observations = RunningMoments((features,))
        self.values = RunningMoments(())
        self.rewards = RunningMoments(())
        self._leaves, self._reduce = leaves, reduce
        self._looked_at: _Acted | None = None

    def in_units_of_rewards(self, outputs: np.ndarray) -> np.ndarray:
        """Values [R] float32 from a critic's normalised outputs [R]."""
        values: np.ndarray = (outputs / self.values.scale(EPSILON) + self.values.mean).astype(np.float32)
        return values

    def believed(self, values: np.ndarray) -> np.ndarray:
        """Values [R] of a critic without those that no return so far can explain: an absurd observation makes them."""
        if not len(values):
            return values
        low, high = scale_of(self.values, values).limits()
        if values.min() >= low and values.max() <= high:
            return values
        within: np.ndarray = np.clip(values, low, high).astype(np.float32)
        return within

    def error_limit(self, rewards: np.ndarray, values: np.ndarray) -> float:
        """The largest temporal-difference error that training believes: DEVIATIONS of the returns so far.

        rewards [n] that are trained on, values [R]: of the batch, which count for the first one of a run.
        """
        if self.values.count:
            return DEVIATIONS * float(scale_of(self.values, values).deviation)
        low, high = scale_of(RunningMoments(()), rewards).limits()
        return max(abs(float(low)), abs(float(high))) + 2 * float(np.abs(values).max(initial=0.0))

    def normalised(self, returns: np.ndarray) -> np.ndarray:
        """Returns [n] as float32 with mean 0 and std 1 over the run."""
        targets: np.ndarray = ((returns - self.values.mean) * self.values.scale(EPSILON)).astype(np.float32)
        return targets

    def merge_returns(self, returns: np.ndarray) -> None:
        """Returns [n] that are trained on."""
        merge_clipped(self.values, returns, scale_of(self.values, returns), self._reduce)

    def merge_rewards(self, rewards: np.ndarray) -> None:
        """Rewards [n] as the environment paid them."""
        merge_clipped(self.rewards, rewards, scale_of(self.rewards, rewards), self._reduce)

    def merge_observations(self, grid: Grid) -> None:
        """Observations that were acted on."""
        if self._leaves:
            acted, self._looked_at = self._acted(grid), None
            scale = scale_of(self.observations, acted.samples)
            merge_clipped(self.observations, acted.samples, scale, self._reduce, acted.extremes)

    def outliers(self, grid: Grid) -> list[str]:
        """The absurd numbers of a batch that is not merged yet, one text each, the worst of each kind first."""
        rewards = grid.flatten(grid.rewards)
        columns = np.nonzero(grid.valid.T)[0]
        found = _texts(grid, "reward", outliers_of(rewards[:, None], scale_of(self.rewards, rewards)), columns)
        if self._leaves:
            found += self._absurd_observations(grid, columns)
        return found

    def _absurd_observations(self, grid: Grid, columns: np.ndarray) -> list[str]:
        """Return texts on absurd observations: of the rows that are acted on, and of episodes' final observations."""
        finals = np.arange(int(grid.observed.sum()), grid.rows)
        acted = self._looked_at = self._acted(grid)
        scale: Scale = scale_of(self.observations, acted.samples)
        found = self._named(grid, outliers_of(acted.samples, scale, acted.extremes), columns)
        if len(finals):
            ended = np.nonzero(grid.truncated)[1]
            found += self._named(grid, outliers_of(self._side_by_side(grid, finals), scale), ended)
        return found

    def _acted(self, grid: Grid) -> "_Acted":
        """Observations that were acted on; those of the batch that was looked at last are at hand."""
        if self._looked_at is not None and self._looked_at.grid is grid:
            return self._looked_at
        samples = self._side_by_side(grid, grid.row_of_step)
        return _Acted(grid, samples, extremes_of(samples) if len(samples) else None)

    def _side_by_side(self, grid: Grid, rows: np.ndarray) -> np.ndarray:
        """[n, f] of the rows of observations."""
        parts = [grid.observations[name][rows].reshape(len(rows), -1) for name in self._leaves]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _named(self, grid: Grid, found: Sequence[Outlier], columns: np.ndarray) -> list[str]:
        """Return a text on each outlier of observations side by side, which names its leaf."""
        texts: list[str] = []
        for outlier in found:
            element = outlier.element
            for name in self._leaves:
                width = math.prod(grid.observations[name].shape[1:])
                if element < width:
                    texts += _texts(grid, name, [outlier._replace(element=element)], columns)
                    break
                element -= width
        return texts

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all moments for a checkpoint, as group.name."""
        groups = {"observations": self.observations, "values": self.values, "rewards": self.rewards}
        return {f"{group}.{name}": array for group, of in groups.items() for name, array in of.arrays().items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The moments that `arrays` came from. One of an older release has none of rewards."""
        self.observations = _moments_from(arrays, "observations")
        self.values = _moments_from(arrays, "values")
        self.rewards = _moments_from(arrays, "rewards") if "rewards.count" in arrays else RunningMoments(())


def _moments_from(arrays: Mapping[str, np.ndarray], group: str) -> RunningMoments:
    return RunningMoments.from_arrays({name: arrays[f"{group}.{name}"] for name in ARRAYS})


def _texts(grid: Grid, what: str, found: Sequence[Outlier], columns: np.ndarray) -> list[str]:
    """Return a text on each outlier that names its origin; columns: of the grid, by row."""
    texts = []
    for outlier in found:
        column = int(columns[outlier.row])
        element = "" if what == "reward" else f"[{outlier.element}]"
        distance = f"{outlier.deviations:.2g}" if math.isfinite(outlier.deviations) else "countless"
        texts.append(
            f"{grid.actors[grid.actor_of_column[column]]}: environment {grid.env_of_column[column]}: "
            f"{what}{element} is {outlier.value:.6g}, {distance} standard deviations from what came before"
        )
    return texts
