"""Action spaces that are refused, and hostile leaves of actions."""

import math
from typing import Any

import gymnasium as gym
import msgspec
import numpy as np
import pytest

from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.specs import Leaf, Spec, check_spec, spec_of

OBSERVED = gym.spaces.Box(0, 1, (3,))
TWO = gym.spaces.Discrete(2)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (
            gym.spaces.Box(-9, 2**25, (2,), np.int32),
            "action: Box actions of dtype int32 from -9 to 33554432 .*set bounds.*ActionWrapper",
        ),
        (gym.spaces.Box(0, 1, (0,), np.int8), r"leaf action: there is nothing in an array of shape \(0,\)"),
        (gym.spaces.Text(5), "action: the space Text is not supported.*ActionWrapper"),
        (gym.spaces.Tuple([TWO, gym.spaces.Sequence(TWO)]), "action.1: the space Sequence is not supported"),
        (gym.spaces.Dict({"a": gym.spaces.Graph(TWO, None)}), "action.a: the space Graph is not supported"),
        (gym.spaces.Dict({"a": gym.spaces.Tuple([])}), "action.a: .*there is nothing in it"),
    ],
)
def test_actions_that_cannot_be_trained_on_say_so_in_one_line(action: gym.Space[Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        spec_of(OBSERVED, action)
    assert "\n" not in str(caught.value)


MANY = Leaf("action", "<i8", (2,), "multi_discrete", low=(0.0,), high=(2.0,))


@pytest.mark.parametrize(
    "changed",
    [
        {"low": (), "high": ()},
        {"low": (0.5,)},
        {"high": (math.inf,)},
        {"high": (2.0**31,)},
        {"dtype": "<f4"},
        {"kind": "multi_binary"},
    ],
)
def test_choices_that_no_honest_peer_sends_are_refused(changed: dict[str, Any]) -> None:
    observation = Leaf("observation", "<f4", (4,), "box")
    check_spec(Spec((observation,), (MANY,)))
    with pytest.raises(ProtocolError):
        check_spec(Spec((observation,), (msgspec.structs.replace(MANY, **changed),)))
