"""Forms in which masks of actions come: all give the same flat one, and anything else is named."""

import re
from typing import Any

import numpy as np
import pytest
from acting_envs import OBSERVED
from gymnasium import spaces

from dppo.actor.envs.mask_form import MaskForm, WrongMask
from dppo.protocol.specs import spec_of

DISCRETE = spaces.Discrete(3, start=5)
CHOICES = spaces.MultiDiscrete([2, 3], start=[1, 0])
SQUARE = spaces.MultiDiscrete([[2, 2], [2, 2]])
RAGGED = spaces.MultiDiscrete([[2, 3], [1, 2]])
FLAGS = spaces.MultiBinary(2)
DICT = spaces.Dict({"a": DISCRETE, "b": spaces.Box(-1, 1, (2,)), "c": spaces.Tuple([FLAGS, CHOICES])})
INTEGER = spaces.Box(np.array([0, 3], np.int8), np.array([1, 5], np.int8), dtype=np.int8)

Y, N = True, False
FORMS: dict[str, tuple[Any, Any, list[bool]]] = {
    "bool": (DISCRETE, np.array([Y, N, Y]), [Y, N, Y]),
    "int8": (DISCRETE, np.array([1, 0, 1], np.int8), [Y, N, Y]),
    "uint8": (DISCRETE, np.array([1, 0, 1], np.uint8), [Y, N, Y]),
    "float": (DISCRETE, np.array([1.0, 0.0, 1.0]), [Y, N, Y]),
    "list": (DISCRETE, [1, 0, True], [Y, N, Y]),
    "side by side": (CHOICES, np.array([1, 0, 0, 1, 1]), [Y, N, N, Y, Y]),
    "tuple": (CHOICES, (np.array([1, 0], np.int8), np.array([0, 1, 1], np.int8)), [Y, N, N, Y, Y]),
    "lists": (CHOICES, [[1, 0], [0, 1, 1]], [Y, N, N, Y, Y]),
    "rank 2 flat": (RAGGED, [1, 0, 0, 1, 1, 1, 0, 1], [Y, N, N, Y, Y, Y, N, Y]),
    "rank 2 tuples": (
        RAGGED,
        ((np.array([1, 0]), np.array([0, 1, 1])), (np.array([1]), np.array([0, 1]))),
        [Y, N, N, Y, Y, Y, N, Y],
    ),
    "rank 2 tuples of one size": (
        SQUARE,
        ((np.array([1, 0]), np.array([0, 1])), (np.array([1, 1]), np.array([0, 1]))),
        [Y, N, N, Y, Y, Y, N, Y],
    ),
    "rank 3 array": (SQUARE, np.array([[[1, 0], [0, 1]], [[1, 1], [0, 1]]]), [Y, N, N, Y, Y, Y, N, Y]),
    "integer Box": (INTEGER, (np.array([0, 1]), np.array([1, 0, 1])), [N, Y, Y, N, Y]),
    "flags side by side": (FLAGS, [1, 0, 1, 1], [Y, N, Y, Y]),
    "flags of Gymnasium": (FLAGS, np.array([0, 2], np.int8), [Y, N, Y, Y]),
    "nested": (
        DICT,
        {"a": [1, 1, 0], "b": None, "c": (np.array([1, 2]), ([1, 0], [0, 1, 1]))},
        [Y, Y, N, N, Y, Y, Y, Y, N, N, Y, Y],
    ),
    "parts of which all is legal": (DICT, {"a": None, "c": (None, [1, 0, 0, 1, 1])}, [Y] * 7 + [Y, N, N, Y, Y]),
    "a nested one flat": (DICT, [1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1], [Y, Y, N, N, Y, Y, Y, Y, N, N, Y, Y]),
}


def form(space: Any) -> MaskForm:
    return MaskForm(spec_of(OBSERVED, space).action)


@pytest.mark.parametrize("case", FORMS)
def test_every_form_gives_the_flat_mask(case: str) -> None:
    space, value, expected = FORMS[case]
    mask = form(space).flat(value)
    assert (mask.dtype, mask.tolist()) == (np.bool_, expected)
    assert form(space).lives(mask)
    assert form(space).dead_end(mask[None]) is None


@pytest.mark.parametrize("case", FORMS)
def test_rows_of_a_vector_give_the_same_as_one_by_one(case: str) -> None:
    space, value, expected = FORMS[case]
    alone = form(space)
    assert alone.flat_rows([value, value], 2).tolist() == [expected] * 2
    objects = np.full(2, None, object)  # as Gymnasium's vectors collect what is no array
    objects[0] = objects[1] = value
    assert alone.flat_rows(objects, 2).tolist() == [expected] * 2
    assert alone.flat_rows(np.array([expected, expected], np.int8), 2).tolist() == [expected] * 2


def test_masks_of_a_native_vector_may_be_nested_arrays_with_a_row_for_each_environment() -> None:
    value = {"a": np.array([[1, 0, 0], [0, 1, 1]]), "b": None, "c": (np.array([[0, 2], [1, 1]]), None)}
    rows = form(DICT).flat_rows(value, 2)
    assert rows.tolist() == [[Y, N, N, Y, N, Y, Y] + [Y] * 5, [N, Y, Y, N, Y, N, Y] + [Y] * 5]


WRONG: dict[str, tuple[Any, Any, str]] = {
    "too short": (DISCRETE, np.array([1, 0]), r"int64 of shape \(2,\): expected 3 flags of 0 and 1, 3 of action"),
    "two": (DISCRETE, np.array([1, 0, 2]), "2 in it: expected 3 flags"),
    "half": (DISCRETE, np.array([1, 0, 0.5]), r"0\.5 in it"),
    "nan": (DISCRETE, np.array([1, 0, np.nan]), "nan in it"),
    "minus one": (DISCRETE, np.array([1, 0, -1]), "-1 in it"),
    "text": (DISCRETE, "110", r"'110' \(str\): expected 3 flags"),
    "None": (DISCRETE, None, r"None \(NoneType\)"),
    "a number": (DISCRETE, 1, r"1 \(int\)"),
    "a dict": (DISCRETE, {"a": [1, 0, 1]}, "dict"),
    "complex": (DISCRETE, np.array([1j, 0, 1]), "complex128"),
    "another element": (CHOICES, (np.array([1, 0, 1]), np.array([0, 1])), r"for each element 2, 3\), or an array for"),
    "one element": (CHOICES, (np.array([1, 0]),), "expected 5 flags"),
    "flags as bools": (FLAGS, np.array([Y, N]), r"bools of shape \(2,\): expected 4 .* 0, 1, or 2 for either"),
    "three": (FLAGS, np.array([0, 3]), "3 in it"),
    "a missing part": (DICT, {"a": [1, 1, 0]}, r"expected a mask of action\.c\.0 there"),
    "half a tuple": (DICT, {"a": [1, 1, 0], "c": (None,)}, r"expected a mask of action\.c\.1 there"),
    "a mask of numbers": (DICT, {"a": None, "b": [1, 0], "c": None}, r"expected None for action\.b, which has no cho"),
    "a wrong part": (DICT, {"a": [1, 1], "c": None}, r"expected 3 flags of 0 and 1, 3 of action\.a"),
    "nested, too short": (DICT, [1, 0], r"12 flags .* 3 of action\.a and 4 of action\.c\.0 and 5 of action\.c\.1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_mask_is_named_with_what_was_expected(case: str) -> None:
    space, value, words = WRONG[case]
    with pytest.raises(WrongMask) as caught:
        form(space).flat(value)
    assert re.search(words, str(caught.value)), str(caught.value)
    with pytest.raises(WrongMask):
        form(space).flat_rows([value] * 2, 2)


@pytest.mark.parametrize(
    ("space", "forbidden", "element"),
    [
        (DISCRETE, [0, 1, 2], "action"),
        (CHOICES, [2, 3, 4], "action[1]"),
        (RAGGED, [5], "action[1, 0]"),
        (FLAGS, [0, 1], "action[0]"),
        (DICT, [5, 6], "action.c.0[1]"),
    ],
)
def test_an_element_without_a_legal_choice_is_named_with_its_row(
    space: Any, forbidden: list[int], element: str
) -> None:
    masks = np.ones((3, form(space).size), bool)
    masks[1, forbidden] = False
    assert form(space).dead_end(masks) == (1, element)
    assert not form(space).lives(masks[1])
    assert form(space).lives(masks[0])


def test_a_number_of_masks_that_is_not_that_of_environments_is_named() -> None:
    with pytest.raises(WrongMask, match="expected 3 masks, each 3 flags"):
        form(DISCRETE).flat_rows([[1, 0, 1]] * 2, 3)
