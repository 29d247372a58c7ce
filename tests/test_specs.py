import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.specs import (
    MAX_DIMENSIONS,
    MAX_ELEMENTS,
    MAX_LEAVES,
    Leaf,
    Spec,
    check_spec,
    spec_from_json,
    spec_hash,
    spec_of,
    spec_to_json,
)

OBSERVATION = Leaf("observation", "<f4", (4,), "box")
ACTION = Leaf("action", "<i8", (), "discrete", categories=2)
PLAIN = Spec((OBSERVATION,), (ACTION,))


def leaf(of: Leaf, **changes: Any) -> Leaf:
    return msgspec.structs.replace(of, **changes)


def with_observation(**changes: Any) -> Spec:
    return Spec((leaf(OBSERVATION, **changes),), (ACTION,))


def with_action(**changes: Any) -> Spec:
    return Spec((OBSERVATION,), (leaf(ACTION, **changes),))


def box(dtype: Any = np.float32, shape: tuple[int, ...] = (3,)) -> gym.spaces.Box:
    return gym.spaces.Box(0, 1, shape, dtype)


TWO = gym.spaces.Discrete(2)


@pytest.mark.parametrize(
    ("dtype", "shipped"),
    [
        (np.float32, "<f4"),
        (np.float64, "<f4"),
        (np.float16, "<f4"),
        (np.uint8, "|u1"),
        (np.int8, "|i1"),
        (np.int16, "<i2"),
        (np.int32, "<i4"),
        (np.int64, "<i8"),
    ],
)
def test_box_observations_are_shipped_in_their_dtype_and_all_floats_as_float32(dtype: Any, shipped: str) -> None:
    (observation,) = spec_of(box(dtype, (6,)), TWO).observation
    assert observation == Leaf("observation", shipped, (6,), "box")


def test_discrete_observations_and_actions_keep_their_start() -> None:
    spec = spec_of(gym.spaces.Discrete(5, start=-2), gym.spaces.Discrete(3, start=1))
    assert spec.observation == (Leaf("observation", "<i8", (), "discrete", categories=5, start=-2),)
    assert spec.action == (Leaf("action", "<i8", (), "discrete", categories=3, start=1),)


def test_box_actions_carry_one_bound_per_element_in_row_major_order() -> None:
    low, high = np.arange(6).reshape(2, 3) * -1.0, np.arange(6).reshape(2, 3) + 1.0
    (action,) = spec_of(box(), gym.spaces.Box(low, high, dtype=np.float64)).action
    assert (action.dtype, action.shape) == ("<f4", (2, 3))
    assert action.low == tuple(low.ravel())
    assert action.high == (1, 2, 3, 4, 5, 6)


def test_unbounded_box_actions_are_allowed() -> None:
    spec = spec_of(box(), gym.spaces.Box(-np.inf, np.inf, (2,)))
    assert check_spec(spec).action[0].low == (-math.inf,)
    assert check_spec(spec).action[0].high == (math.inf,)


def test_equal_bounds_are_said_once_and_so_fit_into_a_message_however_many_there_are() -> None:
    spec = spec_of(box(), gym.spaces.Box(-1, 2, (5000,)))
    assert (spec.action[0].low, spec.action[0].high) == ((-1.0,), (2.0,))
    assert check_spec(spec) == spec


@pytest.mark.parametrize(
    ("low", "high"), [(0.1, 0.3), (-0.3, -0.1), (0.1, 0.1), (1e-50, 1.0), (-1e300, 1e300), (0.0, 1e300), (-1e39, 0.7)]
)
def test_float64_bounds_become_float32_ones_inside_them(low: float, high: float) -> None:
    (action,) = spec_of(box(), gym.spaces.Box(low, high, (2,), np.float64)).action
    (least,), (most,) = action.low, action.high
    assert least <= most
    assert (np.float32(least), np.float32(most)) == (least, most)
    if low != high:
        assert least >= low or least == -math.inf
        assert most <= high or most == math.inf
    assert math.isfinite(least) == (abs(low) < 3e38)


@pytest.mark.parametrize(("dtype", "shipped"), [(np.uint16, "<i4"), (np.uint32, "<i8")])
def test_unsigned_numbers_are_carried_by_a_dtype_that_holds_them_all(dtype: Any, shipped: str) -> None:
    assert spec_of(box(dtype), TWO).observation[0].dtype == shipped


def test_images_of_bytes_stay_bytes() -> None:
    (leaf,) = spec_of(gym.spaces.Box(0, 255, (84, 84, 1), np.uint8), TWO).observation
    assert (leaf.name, leaf.dtype, leaf.shape) == ("observation", "|u1", (84, 84, 1))


def test_leaves_of_nested_observations_are_named_by_their_places_in_the_order_of_the_space() -> None:
    choices = gym.spaces.MultiDiscrete([[2, 3]], start=[[5, -1]])
    space = gym.spaces.Dict(
        {"arm": gym.spaces.Tuple([box(), choices]), "action": gym.spaces.MultiBinary([2, 2]), "a.b": TWO}
    )
    leaves = spec_of(space, TWO).observation
    assert leaves == (
        Leaf("observation.a-2Eb", "<i8", (), "discrete", categories=2),
        Leaf("observation.action", "|b1", (2, 2), "multi_binary"),
        Leaf("observation.arm.0", "<f4", (3,), "box"),
        Leaf("observation.arm.1", "<i8", (1, 2), "multi_discrete", low=(5.0, -1.0), high=(6.0, 1.0)),
    )
    assert [leaf.features for leaf in leaves] == [2, 4, 3, 5]


def test_as_many_equal_choices_as_anybody_likes_fit_into_a_message() -> None:
    (leaf,) = spec_of(gym.spaces.MultiDiscrete([3] * 5000), TWO).observation
    assert (leaf.low, leaf.high, leaf.features) == ((0.0,), (2.0,), 15_000)


@pytest.mark.parametrize(
    ("observation", "action", "words"),
    [
        (gym.spaces.Text(5), TWO, r"observation: the space Text is not supported.*gymnasium\.ObservationWrapper"),
        (gym.spaces.Dict({"a": TWO, "b": gym.spaces.Text(5)}), TWO, r"observation\.b: .*Text.*FilterObservation"),
        (gym.spaces.Tuple([TWO, gym.spaces.Sequence(TWO)]), TWO, r"observation\.1: .*Sequence.*pad it to a Box"),
        (gym.spaces.Dict({"a": gym.spaces.Graph(TWO, None)}), TWO, r"observation\.a: .*Graph.*pad it to a Box"),
        (gym.spaces.Dict({"a": gym.spaces.OneOf([TWO, TWO])}), TWO, r"observation\.a: .*OneOf is not supported"),
        (gym.spaces.Dict({"a": gym.spaces.Dict({})}), TWO, r"observation\.a: .*nothing in it"),
        (gym.spaces.Dict({1: TWO}), TWO, r"observation: the key 1 of its Dict is not supported"),
        (
            gym.spaces.Dict({"a": TWO, "b": gym.spaces.MultiDiscrete([2**19, 2**20])}),
            TWO,
            r"observation\.b.*categories",
        ),
        (gym.spaces.Dict({"a": TWO, "b": gym.spaces.Discrete(2**21)}), TWO, r"observation\.b.*categories"),
        (gym.spaces.Tuple([TWO] * 70), TWO, "71 leaves; at most 64"),
        (gym.spaces.MultiDiscrete(np.arange(2, 500)), TWO, "observation of 498 numbers take .* bytes"),
        (gym.spaces.Dict({"x" * 200: TWO}), TWO, "leaf name.*is not allowed"),
        (box(np.uint64), TWO, "observation: .*uint64.*int8 to int64.*DtypeObservation"),
        (gym.spaces.Dict({"a": box(np.uint64)}), TWO, r"observation\.a: .*uint64"),
    ],
)
def test_spaces_that_cannot_be_trained_on_say_so_in_one_line(
    observation: gym.Space[Any], action: gym.Space[Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        spec_of(observation, action)
    assert "\n" not in str(caught.value)


def test_an_action_space_too_large_for_a_header_says_so_before_anything_is_sent() -> None:
    with pytest.raises(UsageError, match="action"):
        spec_of(box(), gym.spaces.Box(-np.arange(1.0, 1001.0), np.arange(1.0, 1001.0), dtype=np.float64))


shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
leaves = st.builds(
    Leaf,
    name=st.sampled_from(["a", "b"]),
    dtype=st.sampled_from(["<f4", "<f8", "<i8", "|u1"]),
    shape=shapes,
    kind=st.sampled_from(["box", "discrete"]),
    low=st.sampled_from([(), (0.0,), (1.0,)]),
    high=st.sampled_from([(), (2.0,)]),
    categories=st.integers(0, 3),
    start=st.integers(-1, 1),
)
groups = st.lists(leaves, max_size=2).map(tuple)
metrics = st.lists(st.sampled_from(["distance", "power", "x.y"]), max_size=2, unique=True).map(tuple)
specs = st.builds(Spec, observation=groups, action=groups, mask=groups, state=groups, metrics=metrics)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=100)
@given(specs, specs)
def test_two_specs_have_the_same_hash_exactly_if_they_are_equal(one: Spec, other: Spec) -> None:
    assert (spec_hash(one) == spec_hash(other)) == (one == other)
    assert len(spec_hash(one)) == 16


@settings(derandomize=True, deadline=None, max_examples=100)
@given(specs)
def test_a_spec_has_the_same_hash_after_a_journey(spec: Spec) -> None:
    there = msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=Spec)
    assert there == spec
    assert spec_hash(there) == spec_hash(spec)


def test_the_order_of_leaves_and_their_group_change_the_hash() -> None:
    a, b = leaf(OBSERVATION, name="a"), leaf(OBSERVATION, name="b")
    different = [Spec((a, b), (ACTION,)), Spec((b, a), (ACTION,)), Spec((a,), (ACTION,), (b,)), Spec((a,), (ACTION, b))]
    assert len({spec_hash(spec) for spec in different}) == len(different)


def test_honest_specs_pass() -> None:
    for spec in (PLAIN, spec_of(box(np.float32, (84, 84, 4)), TWO), spec_of(TWO, box()), spec_of(box(shape=()), box())):
        assert check_spec(spec) is spec


@dataclass(frozen=True)
class Hostile:
    why: str
    spec: Spec


@pytest.mark.parametrize(
    "hostile",
    [
        Hostile("no observation", Spec((), (ACTION,))),
        Hostile("no action", Spec((OBSERVATION,), ())),
        Hostile("too many leaves", Spec(tuple(leaf(OBSERVATION, name=f"o{n}") for n in range(MAX_LEAVES)), (ACTION,))),
        Hostile("a name twice", Spec((OBSERVATION, OBSERVATION), (ACTION,))),
        Hostile("a name in two groups", Spec((OBSERVATION,), (leaf(ACTION, name="observation"),))),
        Hostile("no name", with_observation(name="")),
        Hostile("a name that is no word", with_observation(name="a\nb")),
        Hostile("a long name", with_observation(name="a" * 1000)),
        Hostile("nothing in it", with_observation(shape=(0,))),
        Hostile("a negative size", with_observation(shape=(-1, 4))),
        Hostile("two negative sizes", with_observation(shape=(-2, -2))),
        Hostile("too many dimensions", with_observation(shape=(1,) * (MAX_DIMENSIONS + 1))),
        Hostile("too large", with_observation(shape=(MAX_ELEMENTS + 1,))),
        Hostile("a product that wraps around", with_observation(shape=(2**32, 2**32))),
        Hostile("too many bounds", with_observation(low=(0.0,) * 5, high=(1.0,) * 5)),
        Hostile("one side of the bounds", with_observation(low=(0.0,) * 4)),
        Hostile("NaN as bound", with_observation(low=(math.nan,) * 4, high=(1.0,) * 4)),
        Hostile("bounds the wrong way round", with_observation(low=(2.0,) * 4, high=(1.0,) * 4)),
        Hostile("no categories", with_action(categories=0)),
        Hostile("negative categories", with_action(categories=-3)),
        Hostile("endless categories", with_action(categories=2**40)),
        Hostile("a start beyond int64", with_action(start=2**63)),
        Hostile("a start with which index arithmetic wraps around", with_action(start=2**63 - 1)),
        Hostile("categories that are floats", with_action(dtype="<f4")),
        Hostile("categories that are bools", with_action(dtype="|b1")),
        Hostile("choices without limits", with_observation(kind="multi_discrete", dtype="<i8")),
        Hostile("choices between numbers", with_observation(kind="multi_discrete", dtype="<i8", low=(0.5,), high=(2,))),
        Hostile("endless choices", with_observation(kind="multi_discrete", dtype="<i8", low=(0.0,), high=(2.0**30,))),
        Hostile("infinitely many", with_observation(kind="multi_discrete", dtype="<i8", low=(0.0,), high=(math.inf,))),
        Hostile("choices as floats", with_observation(kind="multi_discrete", dtype="<f4", low=(0.0,), high=(1.0,))),
        Hostile("flags as floats", with_observation(kind="multi_binary", dtype="<f4")),
        Hostile("categories in bytes that cannot hold the start", with_action(dtype="|u1", start=300)),
    ],
    ids=lambda hostile: hostile.why,
)
def test_a_spec_that_no_honest_peer_sends_is_refused(hostile: Hostile) -> None:
    with pytest.raises(ProtocolError):
        check_spec(hostile.spec)


@pytest.mark.parametrize(
    "action",
    [
        gym.spaces.Discrete(3, start=-4),
        gym.spaces.Box(-np.inf, np.inf, (2,)),
        gym.spaces.Box(np.array([-1.0, -np.inf]), np.array([np.inf, 2.0]), dtype=np.float64),
    ],
)
def test_a_spec_survives_json_with_bounds_that_are_missing(action: gym.Space) -> None:
    spec = spec_of(gym.spaces.Box(-1, 1, (2,)), action)
    assert spec_from_json(spec_to_json(spec)) == spec
    assert "Infinity" not in spec_to_json(spec)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(metrics, st.booleans())
def test_a_spec_survives_json_with_every_group(names: tuple[str, ...], has_more: bool) -> None:
    more = (leaf(OBSERVATION, name="more"),) if has_more else ()
    spec = msgspec.structs.replace(spec_of(box(), TWO), metrics=names, mask=more)
    assert spec_from_json(spec_to_json(spec)) == spec


@pytest.mark.parametrize("text", ["", "{}", "[[],[]]", "[[[]],[[]]]", "[[[1,2,3,4,5,6,7]],[]]", '[[["a"]],[["b"]]]'])
def test_a_text_that_is_no_spec(text: str) -> None:
    with pytest.raises(ProtocolError):
        spec_from_json(text)
