"""Any Gymnasium vector environment, with its autoreset mode hidden. Knows Gymnasium's vector API and its traps.

The modes, https://farama.org/Vector-Autoreset-Mode:
- NEXT_STEP: an ended column returns its last observation; the next step ignores its action and returns reward 0 and
  the new episode's first observation. That row is no transition and is marked as not valid.
- SAME_STEP: an ended column returns the new episode's first observation; the last one is in info["final_obs"].
- DISABLED: we reset the ended columns ourselves.

Where one environment crashes, or its process dies, the state of the whole vector is unknown: it is made again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from dppo.actor.envs.contract import Contract
from dppo.actor.envs.env_actions import actions_for
from dppo.actor.envs.interface import NO_METRICS, Crash, Step
from dppo.actor.envs.mask_reader import check_source, look_for_masks, needed_method, source_text
from dppo.actor.envs.own_returns import own_returns_in
from dppo.actor.envs.ranges import ranges_of
from dppo.actor.envs.returned_values import Note, row_of
from dppo.actor.envs.subprocess_workers import Answers, end_vector, take_notes, tell_stack, worker_failure
from dppo.actor.envs.vector_infos import metrics_in, successes_in
from dppo.actor.envs.vector_masks import VectorMasks
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.rollout import Leaves, empty_rows
from dppo.protocol.specs import masked_spec, spec_of

Seeding = Literal["per_column", "first_column"]


class VectorEnvironments:
    """A gymnasium.vector.VectorEnv whose episodes end the same way in all three autoreset modes.

    With seeding "first_column" the vector environment gets one integer, the first column's seed: native
    implementations have one generator for all their columns, so there an episode depends on how many columns there are.
    """

    indivisible = True
    column: int | None = None  # all at once; the processes that are awaited say `waiting_for`

    def __init__(
        self,
        vector: VectorEnv[Any, Any, Any],
        kind: str,
        seeding: Seeding,
        make: Callable[[], VectorEnv[Any, Any, Any]] | None = None,
        note: Note = lambda text: None,
        metrics: tuple[str, ...] = (),
        action_mask: str = "auto",
    ) -> None:
        """make: another one like it, for `restart`. note: called once with each oddity that is no error.

        action_mask: as env.action_mask; with auto the spec says whether there are masks from the first reset on.
        """
        spaces = spec_of(vector.single_observation_space, vector.single_action_space)
        self.spec = msgspec.structs.replace(spaces, metrics=metrics)
        self._metrics, self.envs = metrics, vector.num_envs
        self._mode = _autoreset_mode(vector)
        self.description = (
            f"{kind}: {type(vector.unwrapped).__name__} of {self.envs} environments, {self._mode.name} autoreset, "
            + ("a seed for each" if seeding == "per_column" else "one seed for all of them")
        )
        self._vector, self._make = vector, make
        self._answers = _answers(vector)
        self._seeding = seeding
        space, leaves = vector.single_observation_space, self.spec.observation
        self._names = [leaf.name for leaf in leaves]
        self._taken = [(leaf.name, np.dtype(leaf.dtype)) for leaf in leaves]
        self._contract = Contract(space, leaves, note, envs=self.envs)
        self._row_contract = Contract(space, leaves, self._contract.note_once)  # of final observations, one by one
        self._ranges = ranges_of(space, leaves, self.envs, note)
        self._actions = actions_for(vector.single_action_space)
        self._given: Leaves = {}  # the newest observations as the vector gave them
        self._no_finals = empty_rows(self.spec, 0)
        self._all_valid = np.ones(self.envs, bool)
        self._all_valid.flags.writeable = False
        self._no_successes = np.full(self.envs, np.nan, np.float32)
        self._no_successes.flags.writeable = False
        self._resetting: np.ndarray | None = None  # [E] bool; whose next step is a reset; None if there is none
        self._masks: VectorMasks | None = None
        check_source(action_mask, leaves, self.spec.action)
        self._is_settled = action_mask != "auto"
        if self._is_settled:
            self._mask_by("" if action_mask == "none" else action_mask)

    def _mask_by(self, source: str) -> None:
        """Read masks from there from now on; "" for none. Processes call their environments' methods themselves."""
        if not source:
            return
        source = "info" if source == "method" and self._answers is not None else source
        find = (lambda: needed_method(self._vector)) if source == "method" else None
        self._masks = masks = VectorMasks(self.spec.action, source, self.envs, find)
        self.spec = masked_spec(self.spec, masks.leaf.name if masks.leaf.name == source else "")
        self._no_finals = empty_rows(self.spec, 0)
        self._ranges = [(name, ranges) for name, ranges in self._ranges if name != source]
        self.description += source_text(source)

    def _look_for_masks(self, infos: Any) -> None:
        """Find out from the infos of the first reset whether there are masks."""
        self._is_settled = True
        found = look_for_masks(infos, None if self._answers is not None else self._vector, self.spec)
        for line in found.notes if self._answers is None else ():  # else each process has noted it
            self._contract.note_once(line)
        self._contract.refuses_masks = found.refuses
        self._mask_by(found.source)

    def reset(self, seeds: Sequence[int]) -> Leaves:
        """Start E episodes; leaf name -> [E, ...]."""
        if len(seeds) != self.envs:
            raise ValueError(f"{len(seeds)} seeds for {self.envs} environments")
        self._resetting = None
        self._vector.action_space.seed(int(seeds[0]))
        self._vector.single_action_space.seed(int(seeds[0]))
        if self._seeding == "per_column":
            # Gymnasium's sync and async vectors take a list, which VectorEnv's signature does not say
            result = self._vector.reset(seed=[int(seed) for seed in seeds])  # type: ignore[arg-type]
        else:
            result = self._vector.reset(seed=int(seeds[0]))
        observed, infos = self._contract.reset(result)
        self._hand_on_notes(infos)
        if not self._is_settled:
            self._look_for_masks(infos)
        observations = self._by_name(observed)
        masks = None if self._masks is None else self._masks.after_reset(observations, infos)
        return self._leaves(observations, masks)

    def given(self, column: int, name: str) -> Any:
        """Return that leaf of a column's newest observation before its conversion to the wire's dtype; for messages."""
        return self._given[name][column] if self._given else None

    def single(self, column: int) -> None:
        """Return None: a column of a vector environment is no environment of its own, or is in another process."""

    def restart(self, columns: Sequence[int], seeds: Sequence[int]) -> Leaves:
        """Make the whole vector again and start E episodes; leaf name -> [E, ...]."""
        assert self._make is not None, "environments that are restarted can be made"
        end_vector(self._vector)
        self._vector = self._make()
        self._answers = _answers(self._vector)
        return self.reset(seeds)

    def waiting_for(self) -> Sequence[int]:
        """Columns whose processes have not answered yet."""
        return self._answers.missing() if self._answers is not None else ()

    def tell_stack(self, column: int) -> None:
        """Have that column's process write its stack to standard error."""
        tell_stack(self._vector, column)

    def step(self, env_action: np.ndarray | Leaves) -> Step:
        """Do env_action [E, ...]."""
        try:
            return self._step(env_action)
        except (DppoError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever a simulator raises, it is made again
            return self._nothing(error)

    def _nothing(self, error: BaseException) -> Step:
        """A row in which nothing was done."""
        column, error = worker_failure(self._vector, error)
        zeros, false = np.zeros(self.envs, np.float32), np.zeros(self.envs, bool)
        leaves = {leaf.name: np.zeros((self.envs, *leaf.shape), leaf.dtype) for leaf in self.spec.given}
        crashes = [Crash(column, "step", error)]
        return Step(leaves, zeros, false, false, false, self._no_finals, self._no_successes, crashes=crashes)

    def _step(self, env_action: np.ndarray | Leaves) -> Step:
        actions = self._actions.of_all(env_action)
        if self._answers is None:
            result = self._vector.step(actions)
        else:
            workers = self._vector.unwrapped
            assert isinstance(workers, AsyncVectorEnv), "only processes answer"
            workers.step_async(actions)
            self._answers.wait()
            result = workers.step_wait()
            self._hand_on_notes(result[4])
        observed, rewards, terminated, limit, infos = self._contract.step(result)
        observations = self._by_name(observed)
        rewards = np.asarray(rewards, np.float32)
        terminated = np.asarray(terminated, bool)
        ended = terminated | limit
        masks = None if self._masks is None else self._masks_after_step(self._masks, observations, infos, ended)
        if not np.count_nonzero(ended):  # ndarray.any takes four times as long
            if self._resetting is None:
                leaves = self._leaves(observations, masks)
                nothing = self._all_valid, self._no_finals, self._no_successes
                return Step(leaves, rewards, terminated, ended, *nothing)
            truncated = ended
        else:
            truncated = ended & ~terminated
        valid = self._all_valid
        if self._resetting is not None:
            valid = ~self._resetting
            rewards = np.where(valid, rewards, np.float32(0))
            terminated = terminated & valid
            truncated = truncated & valid
        self._resetting = ended if self._mode is AutoresetMode.NEXT_STEP and np.count_nonzero(ended) else None
        finals = self._finals(observations, truncated, infos)
        last = infos.get("final_info", {}) if self._mode is AutoresetMode.SAME_STEP else infos  # of ended episodes
        successes = successes_in(last, terminated | truncated, self._no_successes)
        metrics = metrics_in(last, terminated | truncated, self._metrics) if self._metrics else NO_METRICS
        own_returns = own_returns_in(last, infos, terminated | truncated, self._contract.note_once)
        if self._mode is AutoresetMode.DISABLED and np.count_nonzero(ended):
            rewards, terminated = rewards.copy(), terminated.copy()  # the reset may write into what the step returned
            observations, masks = self._reset_ended({n: np.array(of) for n, of in observations.items()}, ended)
        leaves = self._leaves(observations, masks)
        return Step(leaves, rewards, terminated, truncated, valid, finals, successes, metrics, (), own_returns)

    def _masks_after_step(
        self, masks: VectorMasks, observations: Leaves, infos: dict[str, Any], ended: np.ndarray
    ) -> np.ndarray:
        """[E, size]; of observations that end episodes none is asked for."""
        none = np.zeros(self.envs, bool)
        if self._mode is AutoresetMode.SAME_STEP:
            return masks.after_step(observations, infos, over=none, began=ended)
        began = none if self._resetting is None else self._resetting
        return masks.after_step(observations, infos, over=ended & ~began, began=began)

    def _hand_on_notes(self, infos: Any) -> None:
        if self._answers is not None:
            for text in take_notes(infos):
                self._contract.note_once(text)  # each process has its own

    def close(self) -> None:
        """Close the vector environment and, where it has some, its processes."""
        end_vector(self._vector)

    def _by_name(self, observed: Any) -> Leaves:
        """Return what the contract made of observations, by leaf name."""
        if not self._contract.is_nested:
            return {self._names[0]: observed}
        return dict(zip(self._names, observed, strict=True))

    def _leaves(self, observations: Leaves, masks: np.ndarray | None) -> Leaves:
        self._given = observations
        # copies: a vector may write its next observations into the same array, or at any time
        rows = {name: np.array(observations[name], dtype) for name, dtype in self._taken}
        for name, ranges in self._ranges:
            ranges.look(rows[name])
        if self._masks is not None and masks is not None:
            rows[self._masks.leaf.name] = masks
        return rows

    def _finals(self, observations: Leaves, truncated: np.ndarray, infos: dict[str, Any]) -> Leaves:
        """The true last observations of the truncated columns, [k, ...]."""
        if not np.count_nonzero(truncated):
            return self._no_finals
        columns = np.flatnonzero(truncated)
        if self._mode is not AutoresetMode.SAME_STEP:
            # indexing copies, so a later reset cannot write over it
            rows = {name: np.asarray(observations[name])[columns] for name, _ in self._taken}
            return {n: rows[n].astype(dtype, copy=False) for n, dtype in self._taken if n in self._no_finals}
        # two formats: an object array with None where no episode ended, and dense arrays (AtariVectorEnv), which are
        # nested as observations are
        final = infos.get("final_obs")
        last = [None] if final is None else [row_of(final, int(column)) for column in columns]
        if any(row is None for row in last):
            raise DppoError(
                f"{type(self._vector.unwrapped).__name__} truncated an episode and reset it in the same step, but gave "
                "no info['final_obs'] for it: the return cannot be bootstrapped. Use vectorization 'sync'."
            )
        checked = [self._row_contract.observation(row, "step") for row in last]
        by_leaf = zip(*checked, strict=True) if self._contract.is_nested else [checked]
        return {
            name: np.stack([np.asarray(leaf, dtype) for leaf in leaves])
            for (name, dtype), leaves in zip(self._taken, by_leaf, strict=True)
            if name in self._no_finals
        }

    def _reset_ended(self, observations: Leaves, ended: np.ndarray) -> tuple[Leaves, np.ndarray | None]:
        """Observations and masks after a reset of the ended columns."""
        observed, infos = self._contract.reset(self._vector.reset(options={"reset_mask": ended}))
        # taken column by column: nothing says what a reset returns for the columns that it leaves alone
        mixed = {
            name: np.where(ended.reshape(-1, *(1 for _ in np.shape(first)[1:])), first, observations[name])
            for name, first in self._by_name(observed).items()
        }
        return mixed, None if self._masks is None else self._masks.after_reset_of(ended, mixed, infos)


def _answers(vector: VectorEnv[Any, Any, Any]) -> Answers | None:
    """Return the answers of its processes; None without any, or within a wrapper that takes part in a step."""
    return Answers(vector) if isinstance(vector, AsyncVectorEnv) else None


def _autoreset_mode(vector: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    try:
        return AutoresetMode(vector.metadata["autoreset_mode"])
    except (KeyError, ValueError, TypeError):
        raise UsageError(
            f"{type(vector.unwrapped).__name__} does not say in metadata['autoreset_mode'] how its episodes restart, "
            "so resets cannot be told from transitions. Use vectorization 'sync'."
        ) from None
