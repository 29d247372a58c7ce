"""Names of leaves hold their places, whatever the keys; what is nested in another way is named."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.protocol.errors import ProtocolError
from dppo.protocol.leaf_paths import Misplaced, Nest, leaf_name, leaf_path
from dppo.protocol.specs import NAME

PATHS = st.lists(st.text(max_size=4) | st.integers(0, 30), max_size=4).map(tuple)


@given(PATHS)
def test_a_name_says_its_place(path: Any) -> None:
    name = leaf_name("observation", path)
    assert NAME.fullmatch(name)
    assert leaf_path(name) == path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ((), "observation"),
        (("arm", 0), "observation.arm.0"),
        (("0",), "observation.-30"),
        (("10",), "observation.-310"),
        (("a.b", ""), "observation.a-2Eb."),
        (("joint-pos",), "observation.joint--pos"),
        (("\u00e9",), "observation.-C3-A9"),
    ],
)
def test_names_as_they_are_read(path: Any, name: str) -> None:
    assert leaf_name("observation", path) == name


@pytest.mark.parametrize("name", ["o.a-", "o.-2", "o.-2g", "o.-FF", "o.a b", "o.---"])
def test_a_name_that_no_place_has(name: str) -> None:
    with pytest.raises(ProtocolError):
        leaf_path(name)


TREES = st.recursive(
    st.integers(0, 9),
    lambda inner: (
        st.dictionaries(st.text(max_size=2), inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=6,
)


def named(tree: Any, path: Any = ()) -> list[tuple[str, Any]]:
    if isinstance(tree, dict):
        return [leaf for key, inner in tree.items() for leaf in named(inner, (*path, key))]
    if isinstance(tree, tuple):
        return [leaf for key, inner in enumerate(tree) for leaf in named(inner, (*path, key))]
    return [(leaf_name("o", path), tree)]


@given(TREES)
def test_what_is_taken_apart_by_names_can_be_put_together(tree: Any) -> None:
    names, values = zip(*named(tree), strict=True)
    nest = Nest(names)
    assert nest.leaves(tree) == list(values)
    assert nest.nested(values) == tree
    assert nest.ignored == []


NAMES = ["o.arm.0", "o.arm.1.x", "o.goal"]
GOOD = {"arm": (1, {"x": 2}), "goal": 3}


@pytest.mark.parametrize(
    ("nested", "text"),
    [
        (None, "o is a value of type NoneType: expected a dict with the keys arm, goal"),
        (5, "o is a value of type int: expected a dict with the keys arm, goal"),
        ((1, 2), "o is a tuple of 2: expected a dict with the keys arm, goal"),
        (np.zeros(3), r"o is a value of type ndarray and shape \(3,\): expected a dict"),
        ({}, r"o is a dict with the keys \(none\): expected a dict with the keys arm, goal"),
        ({"arm": GOOD["arm"]}, "o is a dict with the keys arm: expected a dict with the keys arm, goal"),
        (GOOD | {"arm": (1,)}, r"o\.arm is a tuple of 1: expected a tuple of 2"),
        (
            GOOD | {"arm": "ab"},
            r"o\.arm is a value of type str: expected a tuple of 2|o\.arm\.1 is a value of type str",
        ),
        (GOOD | {"arm": (1, 2)}, r"o\.arm\.1 is a value of type int: expected a dict with the keys x"),
        (GOOD | {"arm": {"x": 1}}, r"o\.arm is a dict with the keys x: expected a tuple of 2"),
    ],
)
def test_the_first_place_that_is_not_as_it_should_be_is_named(nested: Any, text: str) -> None:
    with pytest.raises(Misplaced, match=text):
        Nest(NAMES).leaves(nested)


def test_more_than_there_should_be_is_kept_in_mind_and_left_out() -> None:
    nest = Nest(NAMES)
    assert nest.leaves({"more": 0, "goal": 3, "arm": [1, {"x": 2, "y": 4}, 7]}) == [1, 2, 3]
    assert sorted(nest.ignored) == ["2", "more", "y"]


@pytest.mark.parametrize(
    "names", [["o.a", "o.a.b"], ["o", "o.a"], ["o.0", "o.2"], ["o.0", "o.a"], ["o.a.x", "o.b", "o.a.y"], ["o.a", "o.a"]]
)
def test_names_that_form_no_structure(names: list[str]) -> None:
    with pytest.raises(ProtocolError):
        Nest(names)
