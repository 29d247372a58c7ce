"""Environments that crash, or give numbers that are not finite, are made again here. Knows seeds; knows no policy.

The step in which it happened is no experience: its row is not valid, the episode is truncated at the step before with
the last observation there was, and a new episode begins with seeds that were never used.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from actor.activity import Activity
from actor.noise import environment_seeds, restart_seed
from actor.step import Crash, Environments, Step
from protocol.errors import DppoError
from protocol.rollout import Leaves

MAX_IN_A_ROW = 5  # restarts of one environment without a whole step in between


class NotFinite(ValueError):
    """A simulator gave NaN or infinity."""


class Repairs:
    """Of the E environments of one actor."""

    def __init__(
        self,
        environments: Environments,
        *,
        seed: int,
        first_slot: int,
        life: int,
        on_crash: Callable[[Crash], None],
        activity: Activity,
    ) -> None:
        self._environments = environments
        self._seed, self._first_slot, self._life = seed, first_slot, life
        self._on_crash = on_crash
        self._activity = activity
        envs = environments.envs
        self._restarts = [0] * envs  # of each column: no seed is used twice
        self._in_a_row = [0] * envs
        self._mended_at = [-1] * envs  # turn of the newest repair
        self._float_zeros = {
            leaf.name: np.zeros(envs * math.prod(leaf.shape), leaf.dtype)
            for leaf in environments.spec.observation
            if np.dtype(leaf.dtype).kind == "f"
        }
        self._reward_zeros = np.zeros(envs, np.float32)

    def first_observations(self) -> Leaves:
        """Start the first episodes; leaf name -> [E, ...]. Raises DppoError where one cannot be started."""
        environments = self._environments
        seeds = environment_seeds(self._seed, first_slot=self._first_slot, envs=environments.envs, life=self._life)
        self._activity.begin("env.reset")
        try:
            observations = environments.reset(seeds)
            _refuse_what_is_not_finite(observations)
        except DppoError:
            raise
        except (Exception, SystemExit) as error:
            crash = Crash(environments.column, "reset", error)
            self._on_crash(crash)
            raise DppoError(f"{crash}; so no episode can be started") from error
        self._activity.end()
        return observations

    def is_finite(self, step: Step) -> bool:
        """Whether all numbers are: 1 us, by products with 0, where numpy.isfinite takes 3."""
        try:
            for name, zeros in self._float_zeros.items():
                if step.observations[name].ravel().dot(zeros) != 0:
                    return False
                finals = step.final_observations[name]
                if len(finals) and not np.isfinite(finals).all():
                    return False
            return bool(step.rewards.dot(self._reward_zeros) == 0)
        except RuntimeWarning:  # infinity times 0, where warnings are errors
            return False

    def mended(self, step: Step) -> tuple[Step, Sequence[int]]:
        """The step without what crashed in it, and the columns whose row is lost: their episodes are broken off."""
        crashes = list(step.crashes) or list(self._lies(step))
        columns: Sequence[int] = range(self._environments.envs)
        lost = columns
        if not self._environments.indivisible:
            columns = sorted({crash.column for crash in crashes if crash.column is not None})
            lost = [crash.column for crash in crashes if crash.column is not None and crash.during == "step"]
        for crash in crashes:
            self._on_crash(crash)
        first = self._restarted(columns, crashes[-1])
        observations = {name: array.copy() for name, array in step.observations.items()}
        for name, array in observations.items():
            array[columns] = first[name]
        kept = np.ones(self._environments.envs, bool)
        kept[lost] = False
        truncating = kept[step.truncated]  # of the final observations
        mended = Step(
            observations,
            np.where(kept, step.rewards, np.float32(0)),
            step.terminated & kept,
            step.truncated & kept,
            step.valid & kept,
            {name: array[truncating] for name, array in step.final_observations.items()},
            np.where(kept, step.successes, np.float32(np.nan)),
        )
        return mended, lost

    def _lies(self, step: Step) -> Iterator[Crash]:
        """A crash for every column in which a number is not finite."""
        for column in range(self._environments.envs):
            place = int(step.truncated[:column].sum())
            ended = bool(step.terminated[column] or step.truncated[column])
            for name in self._float_zeros:
                finals = step.final_observations[name][place : place + bool(step.truncated[column])]
                if not np.isfinite(step.observations[name][column]).all() or not np.isfinite(finals).all():
                    # what follows an episode's end is the next one's first observation, except under NEXT_STEP
                    in_step = not ended or self._environments.indivisible or not np.isfinite(finals).all()
                    yield Crash(column, "step" if in_step else "reset", NotFinite(f"{name} is NaN or infinite"))
                    break
            else:
                if not np.isfinite(step.rewards[column]):
                    yield Crash(column, "step", NotFinite(f"the reward is {step.rewards[column]}"))

    def _restarted(self, columns: Sequence[int], crash: Crash) -> Leaves:
        """First observations of new episodes [k, ...]. Raises DppoError where there is no point in going on."""
        environments = self._environments
        without_step = {column for column in columns if self._mended_at[column] == self._activity.turns - 1}
        while True:
            for column in columns:
                self._restarts[column] += 1
                self._in_a_row[column] = self._in_a_row[column] + 1 if column in without_step else 1
                if self._in_a_row[column] > MAX_IN_A_ROW:
                    raise DppoError(
                        f"{crash}; made again {MAX_IN_A_ROW} times in a row it did not get through one step: "
                        "the log has the traceback"
                    ) from crash.error
            without_step = set(columns)
            seeds = [
                restart_seed(
                    self._seed, slot=self._first_slot + column, life=self._life, restart=self._restarts[column]
                )
                for column in columns
            ]
            self._activity.begin("a restart")
            try:
                observations = environments.restart(columns, seeds)
                _refuse_what_is_not_finite(observations)
            except DppoError:
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a simulator raises; it has more tries
                crash = Crash(environments.column, "reset", error)
                self._on_crash(crash)
                continue
            for column in columns:
                self._mended_at[column] = self._activity.turns
            return observations


def _refuse_what_is_not_finite(observations: Leaves) -> None:
    for name, array in observations.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NotFinite(f"{name} is NaN or infinite")
