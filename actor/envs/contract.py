"""Check what an environment returns against its own spaces and Gymnasium's API: carry it without loss, or reject it.

Names the method, the leaf, what was expected and what came. Knows values and spaces; steps nothing. A step that is as
it should be costs 0.3 us.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np

from dppo.protocol.limits import LARGEST_NUMBER
from dppo.protocol.specs import Leaf

STEP = "step() must return (observation, reward, terminated, truncated, info)"
RESET = "reset() must return (observation, info)"
_REWARDS = frozenset((float, int, bool, np.float64, np.float32, np.float16, np.int64, np.int32, np.bool_))
_INTEGERS = frozenset((int, np.int64, np.int32))
_FLAGS = frozenset((bool, np.bool_))
_NUMBERS = "fiub"  # kinds of dtypes
MOST = float(np.finfo(np.float32).max)
MASK = "action_mask"  # in an info: which actions are allowed; no code reads it

Note = Callable[[str], None]


class BrokenContract(ValueError):
    """An environment returned what its own spaces, or Gymnasium's API, do not allow, and what would lose something."""


class NotFinite(BrokenContract):
    """A simulator gave NaN or infinity."""


class Contract:
    """Contract of one environment, or of a vector whose arrays have a row for each environment."""

    def __init__(
        self, space: gym.Space[Any], leaf: Leaf, note: Note = lambda text: None, envs: int | None = None
    ) -> None:
        """note: called once with each thing that is no error and that its author should know.

        envs: rows of a vector's arrays; None: a single environment.
        """
        self._space = space
        self._leaf = leaf
        self._note = note
        self._envs = envs
        self._rows = () if envs is None else (envs,)
        self._shape = (*self._rows, *leaf.shape)
        self._wire = np.dtype(leaf.dtype)
        self._dtype = np.dtype(np.int64) if space.dtype is None else np.dtype(space.dtype)
        # dtypes of which every value can be carried, as far as the space promises
        self._accepted = {self._wire.char, self._dtype.char} | set("lq" * (self._wire.itemsize == 8))
        if self._wire.kind == "f":
            self._accepted |= set(np.typecodes["Float"] * (self._dtype.itemsize > 4)) | set("?bBhHe")
        self._is_discrete = leaf.kind == "discrete"
        self._is_scalar = self._is_discrete and envs is None
        self._first, self._beyond = leaf.start, leaf.start + leaf.categories
        self._noted: set[str] = set()

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
            and MASK not in info
            and type(reward) in _REWARDS
            and -LARGEST_NUMBER <= reward <= LARGEST_NUMBER
            and (
                (
                    type(observation) is np.ndarray
                    and (observation.dtype is self._wire or observation.dtype.char in self._accepted)
                    and observation.shape == self._shape
                    and not self._is_discrete
                )
                or (self._is_scalar and type(observation) in _INTEGERS and self._first <= observation < self._beyond)
            )
        ):
            return result
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
            and not self._is_discrete
            and MASK not in infos
        ):
            return observations, rewards, terminated, truncated, infos
        return (
            self.observation(observations, "step"),
            self._of_vector("rewards", rewards, _NUMBERS, "real numbers"),
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
        """The observation as an array of the wire's dtype, or as one that fits into it. Raises BrokenContract."""
        if type(value) is np.ndarray and value.shape == self._shape and value.dtype.char in self._accepted:
            array: np.ndarray | None = value
        else:
            array = _array_of(value)
        if array is None or array.dtype.kind not in _NUMBERS:
            self._refuse(method, f"{_short(value)} ({_kind(value)})")
        if array.shape != self._shape:
            got = f"shape {array.shape}" if array.shape else f"the {type(value).__name__} {_short(value)}"
            self._refuse(method, got)
        if array.dtype.char not in self._accepted:
            array = self._converted(array, method)
        if self._is_discrete and not ((self._first <= array) & (array < self._beyond)).all():
            self._refuse(method, _short(value))
        return array

    def reward(self, value: Any) -> Any:
        """One real number. Raises BrokenContract."""
        number: Any = value
        if type(value) is not int:
            array = _array_of(value)
            if array is None or array.shape != () or array.dtype.kind not in _NUMBERS:
                shape = f" of shape {array.shape}" if array is not None and array.shape else ""
                raise BrokenContract(
                    f"step() returned the reward {_short(value)} ({_kind(value)}{shape}): expected one real number"
                )
            number = array[()]
        if -LARGEST_NUMBER <= number <= LARGEST_NUMBER:
            return number
        if not np.isfinite(number if type(number) is not int else 0):
            raise NotFinite(f"the reward is {number}")
        raise BrokenContract(f"step() returned the reward {_short(value)}: trained on are at most {LARGEST_NUMBER:g}")

    def _flag(self, name: str, value: Any) -> bool:
        array = _array_of(value)
        if array is None or array.shape != () or array.dtype.kind not in "bui" or array not in (0, 1):
            raise BrokenContract(f"step() returned {name} = {_short(value)} ({_kind(value)}): expected True or False")
        return bool(array)

    def _of_vector(self, name: str, values: Any, kinds: str, what: str) -> np.ndarray:
        if type(values) is np.ndarray and values.shape == self._rows and values.dtype.kind in kinds:
            return values
        array = _array_of(values)
        if array is not None and array.shape == self._rows:
            if array.dtype.kind in kinds:
                return array
            if kinds == "b" and array.dtype.kind in "ui" and ((array == 0) | (array == 1)).all():
                return array.astype(bool)
        got = f"{array.dtype} of shape {array.shape}" if array is not None else _short(values)
        raise BrokenContract(f"step() returned as {name} {got}: expected {what} of shape {self._rows}")

    def _info(self, info: Any, must: str) -> Any:
        if not isinstance(info, Mapping):
            raise BrokenContract(f"{must}, and info was {_short(info)} ({_kind(info)}): expected a dict")
        if MASK in info:
            self._note_mask()
        return info

    def _note_mask(self) -> None:
        self.note_once(
            f"the info holds {MASK!r}, which is not read: the policy also chooses actions that it forbids",
        )

    def _converted(self, array: np.ndarray, method: str) -> np.ndarray:
        """An array of another dtype than the space's in the wire's. Raises BrokenContract where it loses something."""
        if self._wire.kind == "f":
            self._note_rounding(array, method)
            return array if array.dtype.kind == "f" else array.astype(np.float64)
        with np.errstate(all="ignore"):
            converted = array.astype(self._wire)
            # the way back shows what was cut off; compared as numbers, so that -1 as uint8 is not -1
            same = (converted == array) & ((converted < 0) == (array < 0))
        if not same.all():
            where = np.unravel_index(int(np.argmin(same)), same.shape)
            self._refuse(method, f"{array.dtype} with values that it cannot hold ({array[where]!s}{element(where)})")
        self._note_dtype(array, method)
        return converted

    def _note_rounding(self, array: np.ndarray, method: str) -> None:
        """Note that integers, or floats wider than the space's, are rounded to float32."""
        with np.errstate(all="ignore"):
            if array.dtype.kind in "iu" and bool((array.astype(np.float32).astype(array.dtype) == array).all()):
                return
        self._accepted.add(array.dtype.char)
        self.note_once(
            f"{method}() returns observations of dtype {array.dtype} where the space says {self._dtype}: "
            "they are rounded to float32",
        )

    def _note_dtype(self, array: np.ndarray, method: str) -> None:
        if array.dtype.kind == "f":
            self.note_once(
                f"{method}() returns observations of dtype {array.dtype} where the space says {self._dtype}: "
                "whole numbers are carried, any other would be an error",
            )

    def note_once(self, text: str) -> None:
        """Hand a text on that was not handed on before."""
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def _refuse(self, method: str, got: str) -> NoReturn:
        of = f"{self._envs} observations, each" if self._envs is not None else "the observation"
        expected = (
            f"an integer of {self._space}" if self._leaf.kind == "discrete" else f"{self._dtype} {self._leaf.shape}"
        )
        says = f"as the observation_space {_short(self._space)} says"
        raise BrokenContract(f"{method}() returned as {of} {got}: expected {expected}, {says}")


def _array_of(value: Any) -> np.ndarray | None:
    """The value as an array; None where it is none of numbers or flags."""
    if value is None or isinstance(value, str | bytes | Mapping):
        return None
    try:
        return np.asarray(value)
    except Exception:  # noqa: BLE001 -- ragged lists, tensors of a device, whatever has an __array__ of its own
        return None


def wrong_count(must: str, result: Any, expected: int) -> BrokenContract:
    """Return the error for a method that returned a wrong number of values."""
    if isinstance(result, tuple | list):
        hint = ": that is the API of gym before 0.26" if (expected, len(result)) == (5, 4) else ""
        return BrokenContract(f"{must}; it returned {len(result)} values{hint}")
    hint = ": reset() of gym before 0.26 returned no info" if expected == 2 and result is not None else ""
    return BrokenContract(f"{must}; it returned {_short(result)} ({_kind(result)}){hint}")


def _kind(value: Any) -> str:
    return f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__


def element(where: tuple[Any, ...]) -> str:
    """Return the place of an element in its array, as " at [0, 3]"; "" for a number."""
    return f" at {[int(index) for index in where]}" if where else ""


def _short(value: Any) -> str:
    """A value in one line of at most 60 characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 -- a user's class may raise whatever it likes
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
