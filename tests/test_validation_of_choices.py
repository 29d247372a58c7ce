"""Rollouts and spaces of hostile peers, with several choices and flags as actions."""

import dataclasses
import re
import tracemalloc

import numpy as np
import pytest
from test_validation import BOX, segment

from dppo.learner.config import LearnerConfig
from dppo.learner.session import run_spaces
from dppo.learner.session.rollout_validation import check_segment
from dppo.learner.session.settings import why_not_trained
from dppo.learner.storage import initial_weights
from dppo.protocol.errors import ProtocolError
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Leaf, Spec, check_spec

NESTED = Spec(
    BOX.observation,
    (
        Leaf("action.a", "<i8", (2,), "multi_discrete", low=(5.0, -1.0), high=(6.0, 3.0)),
        Leaf("action.b", "|b1", (3,), "multi_binary", env_dtype="|i1"),
    ),
)


def nested_segment() -> Segment:
    honest = segment(BOX)
    flags = np.ones((*honest.rewards.shape, 3), bool)
    choices = np.broadcast_to(np.array([1, 4]), (*honest.rewards.shape, 2)).copy()
    return dataclasses.replace(
        segment(BOX),
        actions={"action.a": choices, "action.b": flags},
        behaviour_log_probs=np.full_like(honest.rewards, -3.0),
    )


def test_choices_and_flags_within_their_spaces_pass() -> None:
    check_segment(NESTED, nested_segment())


@pytest.mark.parametrize("value", [(2, 0), (0, 5), (-1, 0), (2**63 - 1, 0)])
def test_a_choice_outside_its_elements_choices_is_refused(value: tuple[int, int]) -> None:
    wrong = nested_segment()
    wrong.actions["action.a"][0, 0] = value
    with pytest.raises(ProtocolError, match=r"action.a holds values outside its choices"):
        check_segment(NESTED, wrong)


def test_flags_that_are_no_bools_are_refused() -> None:
    wrong = nested_segment()
    wrong.actions["action.b"].view(np.uint8)[0, 0, 1] = 2
    with pytest.raises(ProtocolError, match=r"action.b holds something else than 0 and 1"):
        check_segment(NESTED, wrong)


@pytest.mark.parametrize(
    ("leaves", "words"),
    [
        ((Leaf("log_prob", "<f4", (2,), "box"),), "no name of an action"),
        ((Leaf("action", "<f4", (2,), "box"), Leaf("action.a", "<f4", (2,), "box")), "within another"),
        ((Leaf("action.1", "<f4", (2,), "box"),), "not 0, 1, 2"),
        ((Leaf("action.a", "<f4", (2,), "box"), Leaf("noise.b", "<f4", (2,), "box")), "'noise.b' is no name"),
        ((Leaf("action", "|b1", (2**26,), "multi_binary"),), "choices are not supported"),
        ((Leaf("action.a", "<i8", (2,), "discrete", categories=3),), r"action.a: choices of shape"),
    ],
)
def test_actions_that_no_space_has_are_not_trained_on(leaves: tuple[Leaf, ...], words: str) -> None:
    spec = check_spec(Spec(BOX.observation, leaves))
    assert re.search(words, why_not_trained(spec, LearnerConfig()))


def test_a_mask_of_actions_with_too_many_choices_is_not_even_counted() -> None:
    leaf = Leaf("action", "|b1", (2**26,), "multi_binary")
    spec = Spec(BOX.observation, (leaf,), mask=(Leaf("action_mask", "|b1", (2,), "multi_binary"),))
    tracemalloc.start()
    assert "choices are not supported" in why_not_trained(check_spec(spec), LearnerConfig())
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_many_choices_of_which_one_has_many_values_are_refused_by_their_size() -> None:
    leaf = Leaf("action", "<i8", (2**16,), "multi_discrete", low=(0.0,) * 2**16, high=(2.0**19, *(1.0,) * (2**16 - 1)))
    assert "GiB" in why_not_trained(check_spec(Spec(BOX.observation, (leaf,))), LearnerConfig())


def test_a_difference_names_the_part_of_the_action_and_both_sides() -> None:
    other = Spec(NESTED.observation, (NESTED.action[0], Leaf("action.b", "|b1", (2,), "multi_binary")))
    choices = "action.a choices (2,) from -1..6, 7 in all"
    of_actor = f"action is {choices} and action.b flags (2,) here, {choices} and action.b flags (3,) in the run"
    assert run_spaces.difference(other, NESTED) == of_actor
    assert "action.b as MultiBinary(2,) there and" in initial_weights.difference(other, NESTED)
    assert "MultiDiscrete(2,) in (5, -1)..(6, 3)" in initial_weights.difference(other, NESTED)
