"""What `policy.predict` makes of observations of another scale than the policy was trained on."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_api_policy import graph_of

import dppo
from dppo.api.policy import Policy


def test_pictures_of_another_scale_are_named() -> None:
    graph = graph_of(gym.spaces.Box(0, 255, (2, 2), np.uint8), gym.spaces.Discrete(3))
    policy = Policy(graph)
    with pytest.raises(
        dppo.UsageError, match=r"holds 0\.5: .*these look like pictures scaled to 0\.\.1, multiply by 255"
    ):
        policy.predict(np.array([[0.0, 0.5], [1.0, 0.25]]))
    with pytest.raises(dppo.UsageError, match=r"holds 127\.5: this policy takes what uint8 can hold$"):
        policy.predict(np.full((2, 2), 127.5))
    for black_or_white in (np.eye(2, dtype=np.float32), np.eye(2, dtype=bool)):
        policy = Policy(graph)
        with pytest.warns(
            UserWarning, match=r"of 0 and 1, .* where 1 is what the environment gave, pass uint8"
        ) as caught:
            policy.predict(black_or_white)
        policy.predict(black_or_white)  # once
        assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings(action="error"):
        policy = Policy(graph)
        for frame in (np.zeros((2, 2)), np.eye(2, dtype=np.uint8), 255 * np.eye(2), np.full((2, 2), 2.0)):
            policy.predict(frame)


def test_tensors_are_taken_with_and_without_gradients() -> None:
    policy = Policy(graph_of(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(3)))
    expected, _ = policy.predict(np.array([0.5, -0.5]))
    for observation in (torch.tensor([0.5, -0.5]), torch.tensor([0.5, -0.5], requires_grad=True)):
        assert policy.predict(observation)[0] == expected


@pytest.mark.parametrize("value", [None, "ab", {"a": 1}, object(), [[0, 0], [0]], np.zeros(2, complex), [None, None]])
def test_what_holds_no_numbers_is_one_line(value: object) -> None:
    policy = Policy(graph_of(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(3)))
    with pytest.raises(dppo.UsageError, match=r"the observation is a \w+ .*: this policy takes shape \(2,\)") as caught:
        policy.predict(value)
    assert "\n" not in str(caught.value)
