"""Options that do not fit a run's spaces are refused by the learner, in one line that says what to do."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from trainer_batches import OBSERVATIONS

from dppo.learner.config import LearnerConfig, NetworkConfig, PpoConfig
from dppo.learner.session.settings import check_spaces, why_not_trained
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import spec_of

BOX = spaces.Box(-1, 1, (2,))
UNBOUNDED = spaces.Box(-np.inf, np.inf, (2,))
HALF = spaces.Box(np.array([-1, 0], np.float32), np.array([np.inf, np.inf], np.float32))
BOTH = spaces.Dict(arm=spaces.Box(np.array([-np.inf, 0], np.float32), np.ones(2, np.float32)), tool=spaces.Discrete(2))
VARIATION = PpoConfig(surrogate="divergence_mask", divergence="total_variation")
SQUASH = NetworkConfig(action_bounds="squash")
BETA = NetworkConfig(distribution="beta")
EXPLORING = NetworkConfig(exploration="state")

FIT = [
    (spaces.Discrete(1000), LearnerConfig(ppo=VARIATION)),
    (spaces.MultiBinary(8), LearnerConfig(ppo=VARIATION)),
    (spaces.Dict(arm=spaces.Box(-1, 1, ()), tools=spaces.MultiDiscrete([4, 4])), LearnerConfig(ppo=VARIATION)),
    (BOX, LearnerConfig(network=SQUASH)),
    (BOTH, LearnerConfig(network=SQUASH)),
    (spaces.Box(-500, 900, (1,), np.int32), LearnerConfig(network=SQUASH)),
    (spaces.Tuple([BOX, spaces.MultiBinary(2)]), LearnerConfig(network=BETA)),
    (BOTH, LearnerConfig(network=EXPLORING)),
]
REFUSED = {
    "squash without numbers": (
        spaces.MultiDiscrete([2, 3]),
        LearnerConfig(network=SQUASH),
        "action_bounds=squash has nothing to squash: no number of these actions has both bounds",
    ),
    "squash without bounds": (UNBOUNDED, LearnerConfig(network=SQUASH), "squash has nothing to squash"),
    "squash with half the bounds": (HALF, LearnerConfig(network=SQUASH), "squash has nothing to squash"),
    "exploration without numbers": (
        spaces.MultiBinary(3),
        LearnerConfig(network=EXPLORING),
        "exploration=state is of numbers, and these actions are choices",
    ),
    "beta without numbers": (
        spaces.Discrete(3),
        LearnerConfig(network=BETA),
        "distribution=beta is of numbers, and these actions are choices",
    ),
    "beta without a bound": (BOTH, LearnerConfig(network=BETA), r"needs both bounds of all numbers, and action\.arm"),
    "total variation of beta": (
        spaces.Box(-1, 1, (1,)),
        LearnerConfig(ppo=VARIATION, network=BETA),
        "no closed form for network.distribution=beta: take ppo.divergence=kl",
    ),
    "total variation of a head of the user's": (
        spaces.Discrete(3),
        LearnerConfig(ppo=VARIATION, network=NetworkConfig(head="my_nets:make_head")),
        "total_variation is known for the built-in distributions only: take ppo.divergence=kl",
    ),
    "total variation of two numbers": (
        BOX,
        LearnerConfig(ppo=VARIATION),
        "no closed form for actions of 2 numbers, .*: take ppo.divergence=kl",
    ),
    "total variation of numbers in two leaves": (
        spaces.Tuple([UNBOUNDED, spaces.Box(-1, 1, ())]),
        LearnerConfig(ppo=VARIATION),
        "no closed form for actions of 3 numbers",
    ),
    "total variation of many choices": (
        spaces.MultiBinary(30_000),
        LearnerConfig(ppo=VARIATION),
        "all combinations of the 30000 choices of an action, of up to 2 values each, .*: take ppo.divergence=kl",
    ),
}


@pytest.mark.parametrize(("action", "config"), FIT)
def test_options_that_fit_are_taken(action: gym.Space[Any], config: LearnerConfig) -> None:
    spec = spec_of(OBSERVATIONS, action)
    check_spaces(spec, config, pytest.fail)
    assert why_not_trained(spec, config) == ""


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_do_not_fit_are_refused(case: str) -> None:
    action, config, words = REFUSED[case]
    spec = spec_of(OBSERVATIONS, action)
    with pytest.raises(UsageError, match=words) as caught:
        check_spaces(spec, config, pytest.fail)
    assert "\n" not in str(caught.value)
    assert why_not_trained(spec, config) == str(caught.value)
