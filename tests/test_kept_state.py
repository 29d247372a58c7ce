"""Findings of `dppo check` on a reset after which an environment is not as new: attributes' names, Box2D's worlds."""

import gymnasium as gym
import numpy as np
import pytest
from test_check import config_of

from dppo.ops.check.command import examine
from dppo.ops.check.deadline import Deadline
from dppo.ops.check.kept_state import compare
from dppo.ops.doctor.finding import Finding
from tests.faulty_envs import Cart


def about_reset(env: str, **settings: object) -> Finding:
    with Deadline(env, 60) as deadline:
        (found,) = [one for one in examine(config_of(env, **settings), deadline) if one.what == "reset"]
    return found


def test_an_attribute_that_is_kept_is_named_with_both_values() -> None:
    found = about_reset("tests.faulty_envs:LeakingReset-v0")
    assert found.level == "error"
    assert "observation of step 1 differs" in found.means
    assert "after reset(), wear is 0." in found.means
    assert "in a new one" in found.means


def test_statistics_that_a_wrapper_keeps_are_named() -> None:
    found = about_reset("CartPole-v1", **{"env.wrappers": ["gymnasium.wrappers.NormalizeObservation"]})
    assert found.level == "error"
    assert "observation of the first reset() differs" in found.means
    assert "NormalizeObservation.obs_rms." in found.means


@pytest.mark.parametrize(
    ("kind", "level", "text"),
    [
        ("KeptContacts", "ok", "keeps the order of contacts in self.world"),
        ("KeptBody", "error", "leaks"),
        ("KeptSimulator", "error", "leaks"),
    ],
)
def test_the_order_of_contacts_in_a_world_is_no_fault(kind: str, level: str, text: str) -> None:
    found = about_reset(f"tests.kept_envs:{kind}")
    assert found.level == level
    assert text in found.means
    assert "after reset()," not in found.means


def test_values_below_attributes_are_compared() -> None:
    class Holds(Cart):
        def __init__(self, number: float) -> None:
            super().__init__()
            self.arm = {"joints": [np.zeros(2), np.full(2, number)], "itself": self}
            self.way: list[float] = [0.0] * int(number)
            self.noise = np.random.default_rng(0)
            self.broken = float("nan")

    assert compare(Holds(1), Holds(1), None).names == ()
    assert compare(gym.wrappers.TimeLimit(Holds(1), 5), gym.wrappers.TimeLimit(Holds(1), 5), None).names == ()
    assert compare(Holds(1), Holds(2), None).names == ("arm['joints'][1]", "len(way)", "way[1]")
    drawn = Holds(1)
    drawn.noise.random()
    assert compare(drawn, Holds(1), None).names == ("noise",)
    names = compare(gym.wrappers.TimeLimit(Holds(1), 5), gym.wrappers.TimeLimit(Holds(1), 6), None).names
    assert "TimeLimit._max_episode_steps" in names
