"""Games that are known as pictures are learned: the example of the page on images, and one that needs a number too."""

import sys
from pathlib import Path
from typing import Any

import pytest
from test_docs_examples import blocks

import dppo

MIRRORED_STEPS = 36_000
WITHOUT_TRAINING = 0.3  # of the balls are caught
MIRRORED = '''
import gymnasium as gym
import numpy as np
from my_catch import Catch


class Mirrored(Catch):
    """In half of the steps left is right, which a number says: in half of the episodes, the paddle's way would tell."""

    observation_space = gym.spaces.Dict(picture=Catch.observation_space, sign=gym.spaces.Box(-1, 1, (1,)))

    def reset(self, *, seed=None, options=None):
        picture, info = super().reset(seed=seed)
        return self.both(picture), info

    def step(self, action):
        picture, *rest = super().step(1 + self.sign * (action - 1))
        return self.both(picture), *rest

    def both(self, picture):
        self.sign = 2 * int(self.np_random.integers(2)) - 1
        return {"picture": picture, "sign": np.array([self.sign], np.float32)}
'''


def share_caught(env: str | dict[str, Any], steps: int, **network: Any) -> float:
    result = dppo.train(
        env=env,
        actors=0,
        total_steps=steps,
        collect={"batch_steps": 1024},
        ppo={"learning_rate": 1e-3, "epochs": 4, "minibatch_steps": 128},
        network=network,
        seed=1,
        verbose=False,
    )
    assert result.steps < steps + 1100
    return dppo.evaluate(result.directory, episodes=200).mean


@pytest.fixture(autouse=True)
def games(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_catch.py").write_text(blocks("docs/images.md")[0])
    (tmp_path / "my_mirror.py").write_text(MIRRORED)
    (tmp_path / "my_drift.py").write_text(blocks("docs/images.md")[2])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_catch", "my_mirror", "my_drift"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_catch_is_learned_from_pictures_within_twelve_thousand_steps() -> None:
    assert share_caught("my_catch:Catch", 12_000, policy_hidden=(), critic_hidden=()) > 0.85 > WITHOUT_TRAINING


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_picture_and_a_number_are_learned_together_within_thirty_six_thousand_steps() -> None:
    assert share_caught("my_mirror:Mirrored", MIRRORED_STEPS) > 0.75


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("leaf", ["sign", "picture"])  # the first one takes a tenth of the time
def test_neither_the_picture_nor_the_number_is_enough_alone(leaf: str) -> None:
    seen = {"gymnasium.wrappers.FilterObservation": {"filter_keys": [leaf]}}
    assert share_caught({"id": "my_mirror:Mirrored", "wrappers": [seen]}, MIRRORED_STEPS) < 0.6


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_what_moves_is_learned_from_stacked_frames_and_not_from_single_ones() -> None:
    returns = {}
    for frames in (2, 1):
        result = dppo.train(
            env="my_drift:Drifting",
            actors=0,
            total_steps=6_000,
            collect={"batch_steps": 512},
            ppo={"learning_rate": 2e-3, "epochs": 4, "minibatch_steps": 128},
            network={"encoder": "impala_cnn", "frame_stack": frames, "policy_hidden": (), "critic_hidden": ()},
            directory=f"runs/{frames}",
            seed=1,
            verbose=False,
        )
        returns[frames] = dppo.evaluate(result.directory, episodes=60).mean
    assert returns[2] > 9, returns
    assert returns[1] < 7, returns
