"""Values that are odd and no error: noted once, in every vectorisation."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from saying_env import BYTES, FLOATS, Answer, Says, saying

from dppo.actor.envs.make import make_environments
from dppo.actor.envs.ranges import FIRST_LOOKS
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.protocol.messages import EnvSettings


def noted(environments: Callable[[Callable[[str], None]], Any], steps: int = 4) -> list[str]:
    texts: list[str] = []
    made = environments(texts.append)
    made.reset([1] * made.envs)
    for _ in range(steps):
        assert not made.step(np.zeros(made.envs, np.int64)).crashes
    return texts


NOTES: dict[str, tuple[Any, Answer, str]] = {
    "wide floats": (FLOATS, saying(np.zeros(2)), "float64 where the space says float32: they are rounded"),
    "outside": (FLOATS, saying(np.array([0, 1.5], np.float32)), r"observes 1\.5 at \[1\], outside of the -1 to 1"),
    "large integers": (gym.spaces.Box(0, 2**40, (2,), np.int64), saying(np.array([0, 2**30])), r"beyond 2\^24"),
    "dark image": (
        gym.spaces.Box(0, 1, (36, 40), np.uint8),
        saying(np.ones((36, 40), np.uint8)),
        "bytes from 0 to 1: ",
    ),
    "dark channels": (
        gym.spaces.Box(0, 9, (3, 8, 8), np.uint8),
        saying(np.ones((3, 8, 8), np.uint8)),
        "by 255 and sees",
    ),
    "floats for bytes": (BYTES, saying(np.zeros(2, np.float32)), "whole numbers are carried"),
}


NOT_SEEN = {"wide floats", "floats for bytes"}  # by Gymnasium's vector, which casts


@pytest.mark.parametrize(
    ("case", "vectorisation"),
    [*((case, "sync") for case in NOTES), *((case, "vector") for case in sorted(NOTES.keys() - NOT_SEEN))],
)
def test_what_is_odd_and_no_error_is_noted_once(case: str, vectorisation: str) -> None:
    space, answer, words = NOTES[case]

    def make(note: Callable[[str], None]) -> Any:
        if vectorisation == "sync":
            return SyncLoop([Says(space, step=answer), Says(space, step=answer)], note=note)
        vector = SyncVectorEnv([partial(Says, space, step=answer)] * 2)
        return VectorEnvironments(vector, "test", "per_column", note=note)

    (text,) = noted(make)
    assert re.search(words, text), text


def test_spaces_as_they_should_be_note_nothing() -> None:
    assert noted(lambda note: make_environments(EnvSettings("CartPole-v1"), 2, note=note), 50) == []
    for space in (gym.spaces.Box(0, 255, (36, 36), np.uint8), gym.spaces.Box(0, 1, (4, 4), np.uint8), BYTES):
        assert noted(lambda note, space=space: SyncLoop([Says(space)], note=note)) == []
    for name in ("CartPole-v1", "Acrobot-v1", "FrozenLake-v1", "MountainCar-v0"):
        settings = EnvSettings(name, vectorization="sync")
        assert noted(lambda note, settings=settings: make_environments(settings, 2, note=note), 50) == []


def test_images_whose_space_promises_more_than_they_hold_are_noted_after_a_while() -> None:
    space = gym.spaces.Box(0, 255, (36, 40), np.uint8)

    def looked_at(brightest: int) -> list[str]:
        image = np.zeros((36, 40), np.uint8)
        image[3, 4] = brightest
        return noted(lambda note: SyncLoop([Says(space, step=saying(image))], note=note), FIRST_LOOKS + 20)

    (text,) = looked_at(1)
    assert text.startswith("observations are bytes without one above 1 in the first 256 steps: an encoder of images")
    assert looked_at(64) == []
