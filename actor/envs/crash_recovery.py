"""Environments that crash, or give numbers that are not finite, are made again here. Knows seeds; knows no policy.

The step that raised is not a transition: its row is not valid, the episode is truncated at the step before with
the last observation there was, and a new episode begins with seeds that were never used.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dppo.actor.envs.finite import Finite
from dppo.actor.envs.interface import Crash, Environments, Step
from dppo.actor.envs.returned_values import BrokenContract, BrokenForGood
from dppo.actor.leave_reasons import MUST_CHANGE
from dppo.actor.sampling.noise import environment_seeds, restart_seed
from dppo.actor.watchdog.activity import Activity
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.rollout import Leaves

MAX_IN_A_ROW = 5  # restarts of one environment without a whole step in between


class CrashRecovery:
    """Crash recovery of the E environments of one actor."""

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
        self._finite = Finite(environments.spec, envs, indivisible=environments.indivisible)
        self.is_finite = self._finite.holds
        self._first_turn = -1  # of the environments' steps

    def first_observations(self) -> Leaves:
        """Start the first episodes; leaf name -> [E, ...]. Raises DppoError where one cannot be started."""
        environments = self._environments
        seeds = environment_seeds(self._seed, first_slot=self._first_slot, envs=environments.envs, life=self._life)
        self._activity.begin("env.reset")
        try:
            observations = environments.reset(seeds)
            self._finite.refuse_first(observations, environments.given)
        except (DppoError, KeyboardInterrupt):
            raise
        except BaseException as error:  # whatever a simulator raises
            crash = Crash(environments.column, "reset", error)
            self._on_crash(crash)
            # what its author has to change: no other process of it would do better
            kind = UsageError if isinstance(error, BrokenContract) else DppoError
            raise kind(f"{crash}; so no episode can be started") from error
        self._activity.end()
        self._first_turn = self._activity.turns + 1
        return observations

    def mended(self, step: Step) -> tuple[Step, Sequence[int]]:
        """The step without what crashed in it, and the columns whose row is lost: their episodes are broken off."""
        crashes = list(step.crashes) or list(self._finite.lies(step, self._environments.given))
        columns: Sequence[int] = range(self._environments.envs)
        lost = columns
        if not self._environments.indivisible:
            columns = sorted({crash.column for crash in crashes if crash.column is not None})
            lost = [crash.column for crash in crashes if crash.column is not None and crash.during == "step"]
        for crash in crashes:
            self._on_crash(crash)
            if type(crash.error) in (BrokenContract, BrokenForGood) and self._activity.turns == self._first_turn:
                raise UsageError(f"{crash}; that was its first step") from crash.error
            _refuse_for_good(crash)
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
            {column: metrics for column, metrics in step.metrics.items() if kept[column]},
            own_returns={column: number for column, number in step.own_returns.items() if kept[column]},
        )
        return mended, lost

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
                self._finite.refuse_first(observations, environments.given)
            except (DppoError, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 -- whatever a simulator raises; it has more tries
                crash = Crash(environments.column, "reset", error)
                self._on_crash(crash)
                _refuse_for_good(crash)
                continue
            for column in columns:
                self._mended_at[column] = self._activity.turns
            return observations


def _refuse_for_good(crash: Crash) -> None:
    """Raise DppoError where a new environment would do the same again, and what was trained on is not what it is."""
    if isinstance(crash.error, BrokenForGood):
        raise DppoError(f"{MUST_CHANGE}{crash}") from crash.error
