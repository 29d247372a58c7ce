"""Check what an environment returns against its own spaces and Gymnasium's API: carry it without loss, or reject it.

Names the method, the leaf, what was expected and what came. Knows values and spaces; steps nothing. A step that is as
it should be costs 0.3 us.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from dppo.actor.envs.leaf_contract import INTEGERS, NUMBERS, LeafContract
from dppo.actor.envs.returned_values import (
    BrokenContract,
    BrokenForGood,
    Note,
    NotFinite,
    array_of,
    kind_of,
    short,
)
from dppo.protocol.action_masks import MASK
from dppo.protocol.leaf_paths import Misplaced, Nest
from dppo.protocol.leaves import Leaf, leaf_spaces
from dppo.protocol.limits import LARGEST_NUMBER

STEP = "step() must return (observation, reward, terminated, truncated, info)"
RESET = "reset() must return (observation, info)"
# float16 is none of them: the bound would overflow in it, with a warning
_REWARDS = frozenset((float, int, bool, np.float64, np.float32, np.int64, np.int32, np.bool_))
_FLAGS = frozenset((bool, np.bool_))


class Contract:
    """Contract of one environment, or of a vector whose arrays have a row for each environment."""

    def __init__(
        self,
        space: gym.Space[Any],
        leaves: Sequence[Leaf],
        note: Note = lambda text: None,
        envs: int | None = None,
    ) -> None:
        """space, leaves: of observations. note: called once with each oddity that is no error.

        envs: rows of a vector's arrays; None: a single environment.
        """
        self.leaves = tuple(leaves)
        self.refuses_masks = False  # the first reset gave none, so that no policy knows of them
        self._note = note
        self._noted: set[str] = set()
        self._envs = envs
        self._rows = () if envs is None else (envs,)
        spaces = [of_leaf for _, of_leaf in leaf_spaces(space, "observation")]
        self._leaves = [LeafContract(*pair, self.note_once, envs) for pair in zip(spaces, leaves, strict=True)]
        self._nest = Nest([leaf.name for leaf in leaves])
        self.is_nested = isinstance(space, gym.spaces.Dict | gym.spaces.Tuple)
        only = self._leaves[0]  # looked at in every step where it is the only one
        self._shape, self._wire, self._accepted = only.shape, only.wire, only.accepted
        self._has_choices, self._is_number = only.has_choices or self.is_nested, only.is_number and not self.is_nested
        self._first, self._last = only.first, only.last
        self._is_taken_apart = self._has_choices and not self._is_number

    def step(self, result: Any) -> Any:
        """Return the result of a step, as it is or converted to plain types. Raises BrokenContract."""
        try:
            observation, reward, terminated, truncated, info = result
        except (TypeError, ValueError):
            raise wrong_count(STEP, result, 5) from None
        if self._envs is not None:
            return self._vector_step(observation, reward, terminated, truncated, info)
        if (
            # what is usual, by identity: dtypes of NumPy's own and flags exist once
            (terminated is False or terminated is True or type(terminated) in _FLAGS)
            and (truncated is False or truncated is True or type(truncated) in _FLAGS)
            and type(info) is dict
            and (MASK not in info or not self.refuses_masks)
            and type(reward) in _REWARDS
            and -LARGEST_NUMBER <= reward <= LARGEST_NUMBER
            and (
                (
                    type(observation) is np.ndarray
                    and (observation.dtype is self._wire or observation.dtype.char in self._accepted)
                    and observation.shape == self._shape
                    and not self._has_choices
                )
                or (self._is_number and type(observation) in INTEGERS and self._first <= observation <= self._last)
                or self._is_taken_apart
            )
        ):
            return result if not self._is_taken_apart else (self.observation(observation, "step"), *result[1:])
        return (
            self.observation(observation, "step"),
            self.reward(reward),
            self._flag("terminated", terminated),
            self._flag("truncated", truncated),
            self._info(info, STEP),
        )

    def _vector_step(self, observations: Any, rewards: Any, terminated: Any, truncated: Any, infos: Any) -> Any:
        if (
            type(infos) is dict
            and type(observations) is type(rewards) is type(terminated) is type(truncated) is np.ndarray
            and (observations.dtype is self._wire or observations.dtype.char in self._accepted)
            and observations.shape == self._shape
            and rewards.dtype.char in "df"
            and terminated.dtype.char == truncated.dtype.char == "?"
            and rewards.shape == terminated.shape == truncated.shape == self._rows
            and not self._has_choices
            and (MASK not in infos or not self.refuses_masks)
        ):
            return observations, rewards, terminated, truncated, infos
        return (
            self.observation(observations, "step"),
            self._of_vector("rewards", rewards, NUMBERS, "real numbers"),
            self._of_vector("terminated", terminated, "b", "bools"),
            self._of_vector("truncated", truncated, "b", "bools"),
            self._info(infos, STEP),
        )

    def reset(self, result: Any) -> tuple[Any, Any]:
        """Return the result of a reset: (observation, info). Raises BrokenContract."""
        # of an array of two numbers, or a dict with two keys, that would be unpacked
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise wrong_count(RESET, result, 2)
        observation, info = result
        return self.observation(observation, "reset"), self._info(info, RESET)

    def observation(self, value: Any, method: str) -> Any:
        """The observation as an array of the wire's dtype, or as one that fits into it; of a nested one a list of them.

        Raises BrokenContract.
        """
        if not self.is_nested:
            return self._leaves[0].taken(value, method)
        try:
            values = self._nest.leaves(value)
        except Misplaced as error:
            raise BrokenContract(
                f"{method}() returned as {error.name} {error.got}: expected {error.expected}, as its "
                "observation_space says"
            ) from None
        if self._nest.ignored:
            self._note_more()
        return [leaf.taken(value, method) for leaf, value in zip(self._leaves, values, strict=True)]

    def given(self, observation: Any) -> Any:
        """Return what `observation` made of it in the structure that its environment has."""
        return self._nest.nested(observation) if self.is_nested else observation

    def _note_more(self) -> None:
        more = ", ".join(sorted(set(self._nest.ignored)))
        self._nest.ignored.clear()
        self.note_once(f"observations hold also {more}, which their space does not have: left out")

    def reward(self, value: Any) -> Any:
        """One real number. Raises BrokenContract."""
        number: Any = value
        if type(value) is not int:
            array = array_of(value)
            if array is None or array.shape != () or array.dtype.kind not in NUMBERS:
                shape = f" of shape {array.shape}" if array is not None and array.shape else ""
                raise BrokenContract(
                    f"step() returned the reward {short(value)} ({kind_of(value)}{shape}): expected one real number"
                )
            number = array[()] if array.dtype.char != "e" else array.item()
        if -LARGEST_NUMBER <= number <= LARGEST_NUMBER:
            return number
        if not np.isfinite(number if type(number) is not int else 0):
            raise NotFinite(f"the reward is {number}")
        raise BrokenContract(f"step() returned the reward {short(value)}: trained on are at most {LARGEST_NUMBER:g}")

    def _flag(self, name: str, value: Any) -> bool:
        array = array_of(value)
        if array is None or array.shape != () or array.dtype.kind not in "bui" or array not in (0, 1):
            raise BrokenContract(f"step() returned {name} = {short(value)} ({kind_of(value)}): expected True or False")
        return bool(array)

    def _of_vector(self, name: str, values: Any, kinds: str, what: str) -> np.ndarray:
        if type(values) is np.ndarray and values.shape == self._rows and values.dtype.kind in kinds:
            return values
        array = array_of(values)
        if array is not None and array.shape == self._rows:
            if array.dtype.kind in kinds:
                return array
            if kinds == "b" and array.dtype.kind in "ui" and ((array == 0) | (array == 1)).all():
                return array.astype(bool)
        got = f"{array.dtype} of shape {array.shape}" if array is not None else short(values)
        raise BrokenContract(f"step() returned as {name} {got}: expected {what} of shape {self._rows}")

    def _info(self, info: Any, must: str) -> Any:
        if not isinstance(info, Mapping):
            raise BrokenContract(f"{must}, and info was {short(info)} ({kind_of(info)}): expected a dict")
        if self.refuses_masks and MASK in info:
            raise BrokenForGood(
                f"{must.partition(' ')[0]} returned info[{MASK!r}], and the first reset() did not: return it from "
                "every reset and step; env.action_mask: none turns masks off"
            )
        return info

    def note_once(self, text: str) -> None:
        """Hand a text on that was not handed on before."""
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)


def wrong_count(must: str, result: Any, expected: int) -> BrokenContract:
    """Return the error for a method that returned a wrong number of values."""
    if isinstance(result, tuple | list):
        hint = ": that is the API of gym before 0.26" if (expected, len(result)) == (5, 4) else ""
        return BrokenContract(f"{must}; it returned {len(result)} values{hint}")
    hint = ": reset() of gym before 0.26 returned no info" if expected == 2 and result is not None else ""
    return BrokenContract(f"{must}; it returned {short(result)} ({kind_of(result)}){hint}")
