"""Single environments stepped one after the other in this process. Knows Gymnasium's Env; knows no vector API.

Why not gymnasium.vector.SyncVectorEnv: at 8 environments a step costs 13-16 us more when we reset what has ended
(CartPole-v1: 64 us against 48), it merges every info dict key by key into arrays that no code reads, and here an ended
episode's true last observation is at hand, so no row is ever wasted on a reset. One that crashes is made again alone.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import gymnasium as gym
import msgspec
import numpy as np

from dppo.actor.envs.contract import Contract
from dppo.actor.envs.env_actions import actions_for
from dppo.actor.envs.interface import NO_METRICS, SUCCESS, Crash, Step, as_success, successes_of
from dppo.actor.envs.mask_reader import (
    MaskReader,
    Method,
    check_source,
    look_for_masks,
    needed_method,
    source_text,
)
from dppo.actor.envs.masked_contract import MaskedContract
from dppo.actor.envs.metrics import metrics_of
from dppo.actor.envs.own_returns import EPISODE, TEXT, own_return
from dppo.actor.envs.ranges import ranges_of
from dppo.actor.envs.returned_values import Note
from dppo.actor.envs.wrapping import keeping_statistics
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.rollout import Leaves, empty_rows
from dppo.protocol.specs import Spec, masked_spec, spec_of


class SyncLoop:
    """E single environments; ended episodes are reset within the step that ended them."""

    indivisible = False

    def __init__(
        self,
        environments: Sequence[gym.Env[Any, Any]],
        make: Callable[[int], gym.Env[Any, Any]] | None = None,
        note: Note = lambda text: None,
        metrics: tuple[str, ...] = (),
        action_mask: str = "auto",
    ) -> None:
        """make: the one of that column again, for `restart`. note: called once with each oddity that is no error.

        action_mask: as env.action_mask; with auto the spec says whether there are masks from the first reset on.
        """
        first = environments[0]
        self._spaces = spec_of(first.observation_space, first.action_space)
        self.spec = msgspec.structs.replace(self._spaces, metrics=metrics)
        for column, other in enumerate(environments):
            check_same_spaces(self._spaces, other, column, UsageError)
        check_source(action_mask, self.spec.observation, self.spec.action)
        self.envs = len(environments)
        self.description = f"sync: a loop over {self.envs} environments, each reset within the step that ended it"
        self.column: int | None = 0
        self.wrappers = keeping_statistics(first)  # names, for those that compare returns
        self._environments = list(environments)
        self._make = make
        self._metrics = metrics
        self._note = note
        self._has_noted_returns = False
        self._contract: Contract | MaskedContract = Contract(first.observation_space, self.spec.observation, note)
        self._ranges = ranges_of(first.observation_space, self.spec.observation, self.envs, note)
        self._actions = actions_for(first.action_space)
        self._given: list[Any] = [None] * self.envs  # what the contract made of each column's newest observation
        self._valid = np.ones(self.envs, bool)  # the same array in every step: no row is ever only a reset
        self._valid.flags.writeable = False
        self._none_ended = np.zeros(self.envs, bool)  # likewise, in steps that end no episode
        self._none_ended.flags.writeable = False
        self._no_successes = np.full(self.envs, np.nan, np.float32)  # likewise, in steps that end no episode
        self._no_successes.flags.writeable = False
        self._lay_out()
        self._is_settled = action_mask != "auto"
        if self._is_settled:
            self._mask_by("" if action_mask == "none" else action_mask)

    def _lay_out(self) -> None:
        """Make the rows of the newest step, of which each step hands out a copy."""
        self._no_finals = empty_rows(self.spec, 0)
        self._rows = {leaf.name: np.empty((self.envs, *leaf.shape), leaf.dtype) for leaf in self._contract.leaves}
        # views, twice as fast as indexing: of each column those of all leaves; where one leaf is the whole observation
        # also that one itself
        self._leaves_of = [[rows[column, ...] for rows in self._rows.values()] for column in range(self.envs)]
        self._row_of = None if self._contract.is_nested else [row for (row,) in self._leaves_of]

    def _mask_by(self, source: str) -> None:
        """Read masks from there from now on; "" for none."""
        if not source:
            return
        assert isinstance(self._contract, Contract), "masks are found once"
        actions = self.spec.action
        reader = MaskReader(actions, source, self._method if source == "method" else None, self.envs)
        self._contract = MaskedContract(self._contract, reader, actions, lambda: self.column or 0)
        self.spec = masked_spec(self.spec, reader.leaf)
        self._ranges = [(name, ranges) for name, ranges in self._ranges if name != reader.leaf]
        self.description += source_text(source)
        self._lay_out()

    def _method(self, column: int) -> Method:
        return needed_method(self._environments[column])

    def _look_for_masks(self, result: Any) -> None:
        """Find out from the result of the first reset whether there are masks."""
        self._is_settled = True
        info = result[1] if isinstance(result, tuple | list) and len(result) == 2 else None
        found = look_for_masks(info, self._environments[0], self.spec)
        for line in found.notes:
            self._note(line)
        if isinstance(self._contract, Contract):
            self._contract.refuses_masks = found.refuses
        self._mask_by(found.source)

    def reset(self, seeds: Sequence[int]) -> Leaves:
        """Start E episodes, one seed a column; leaf name -> [E, ...]."""
        for column, (environment, seed) in enumerate(zip(self._environments, seeds, strict=True)):
            self.column = column
            self._begin(environment, seed)
        rows = {name: array.copy() for name, array in self._rows.items()}
        for name, ranges in self._ranges:
            ranges.look(rows[name])
        return rows

    def restart(self, columns: Sequence[int], seeds: Sequence[int]) -> Leaves:
        """Make these again and start new episodes; leaf name -> [k, ...]."""
        assert self._make is not None, "environments that are restarted can be made"
        for column, seed in zip(columns, seeds, strict=True):
            self.column = column
            with contextlib.suppress(Exception):  # it is broken: that it cannot even be closed is no news
                self._environments[column].close()
            self._environments[column] = self._make(column)
            check_same_spaces(self._spaces, self._environments[column], column, DppoError)
            self._begin(self._environments[column], seed)
        return {name: array[list(columns)] for name, array in self._rows.items()}

    def _begin(self, environment: gym.Env[Any, Any], seed: int) -> None:
        environment.action_space.seed(seed)
        result = environment.reset(seed=seed)
        if not self._is_settled:
            self._look_for_masks(result)
        observation, _ = self._contract.reset(result)
        self._write(self.column or 0, observation)

    def given(self, column: int, name: str) -> Any:
        """Return that leaf of a column's newest observation before its conversion to the wire's dtype; for messages."""
        given = self._given[column]
        return given if self._row_of is not None or given is None else given[list(self._rows).index(name)]

    def single(self, column: int) -> gym.Env[Any, Any]:
        """Return that column's environment."""
        return self._environments[column]

    def step(self, env_action: np.ndarray | Leaves) -> Step:
        """Do env_action [E, ...] in column order."""
        row_of, given = self._row_of, self._given
        rewards = np.empty(self.envs, np.float32)
        terminated = truncated = self._none_ended
        finals: list[list[np.ndarray]] = []
        reported: dict[int, float] = {}
        own_returns: dict[int, float] = {}
        metrics = NO_METRICS
        crashes: list[Crash] = []
        during: Literal["step", "reset"] = "step"
        checked = self._contract.step
        actions = self._actions.of_each(env_action)
        for column, (environment, action) in enumerate(zip(self._environments, actions, strict=True)):
            self.column = column
            try:
                observation, reward, is_terminal, is_limit, info = checked(environment.step(action))
                # copied at once: another environment may write into the same array
                if row_of is not None:
                    row_of[column][...] = given[column] = observation
                else:
                    self._write(column, observation)
                rewards[column] = reward
                if is_terminal or is_limit:
                    if SUCCESS in info:
                        reported[column] = as_success(info[SUCCESS])  # the reset may write over it
                    if EPISODE in info and (counted := own_return(info)) == counted:  # NaN is not
                        own_returns[column] = counted
                    if self._metrics:
                        metrics = {**metrics, column: metrics_of(info, self._metrics)}
                    if not is_terminal:
                        finals.append([row.copy() for row in self._leaves_of[column]])
                    if terminated is self._none_ended:
                        terminated, truncated = np.zeros((2, self.envs), bool)
                    terminated[column], truncated[column] = is_terminal, not is_terminal
                    during = "reset"
                    self._write(column, self._contract.reset(environment.reset())[0])
                    during = "step"
            except (DppoError, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 -- whatever a simulator raises, the others go on
                crashes.append(Crash(column, during, error))
                during = "step"
                for row in self._leaves_of[column]:
                    row[...] = 0
        rows = {}
        for name, array in self._rows.items():
            rows[name] = array.copy()
        for name, ranges in self._ranges:
            ranges.look(rows[name])
        told = successes_of(reported, self._no_successes), metrics, crashes, own_returns
        valid = _done(crashes, self._valid, rewards) if crashes else self._valid
        final_observations = self._stacked(finals) if finals else self._no_finals
        if own_returns and not self._has_noted_returns:
            self._has_noted_returns = True
            self._note(TEXT)
        return Step(rows, rewards, terminated, truncated, valid, final_observations, *told)

    def _write(self, column: int, observation: Any) -> None:
        """Copy what the contract made of an observation into its row."""
        self._given[column] = observation
        leaves = observation if self._row_of is None else (observation,)
        for row, leaf in zip(self._leaves_of[column], leaves, strict=True):
            row[...] = leaf

    def _stacked(self, finals: list[list[np.ndarray]]) -> Leaves:
        """Leaf name -> [k, ...] of k observations."""
        by_leaf = zip(self._rows, zip(*finals, strict=True), strict=True)
        return {name: np.stack(leaves) for name, leaves in by_leaf if name in self._no_finals}

    def waiting_for(self) -> Sequence[int]:
        """Return no column: there are no processes."""
        return ()

    def tell_stack(self, column: int) -> None:
        """Do nothing: the stack is this process's."""

    def close(self) -> None:
        """Close every environment."""
        for environment in self._environments:
            environment.close()


def _done(crashes: Sequence[Crash], valid: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Return which columns [E] did a step; sets the rewards of the others to 0."""
    valid = valid.copy()
    for crash in crashes:
        if crash.during == "step":
            rewards[crash.column], valid[crash.column] = 0, False
    return valid


def check_same_spaces(spec: Spec, environment: gym.Env[Any, Any], column: int, kind: type[DppoError]) -> None:
    """Raises `kind` where the environment's spaces are not those of the spec."""
    own = spec_of(environment.observation_space, environment.action_space)
    if (own.observation, own.action) != (spec.observation, spec.action):
        raise kind(
            f"the spaces of environment {column} differ from those of environment 0: "
            f"{environment.observation_space} and {environment.action_space}"
        )
