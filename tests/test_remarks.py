"""Lines about spaces that train badly, and a run in which every episode crashed."""

import json
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dppo.learner.config import LearnerConfig, NetworkConfig
from dppo.learner.session.space_remarks import config_remarks, remarks, wrapper_remarks
from dppo.learner.telemetry.status import SUMMARY
from dppo.local.run_summary import check_that_episodes_ended
from dppo.protocol.env_wrappers import parse_wrappers
from dppo.protocol.errors import DppoError
from dppo.protocol.specs import spec_of
from dppo.settings.fields import build

OBSERVED = gym.spaces.Box(-1, 1, (3,))


def said(action: Any, observation: Any = OBSERVED, **network: Any) -> list[str]:
    return remarks(spec_of(observation, action), NetworkConfig(**network))


def box(low: float, high: float, size: int = 1) -> gym.spaces.Box:
    return gym.spaces.Box(low, high, (size,), np.float64)


def test_wide_bounds_are_named_with_what_is_for_them() -> None:
    (line,) = said(box(0, 1000))
    assert "from 0 to 1000" in line
    assert "network.action_bounds=rescale" in line
    assert said(box(0, 1000), action_bounds="rescale") == []
    assert said(box(0, 1000), initial_log_std=math.log(300)) == []


def test_narrow_bounds_too() -> None:
    (line,) = said(box(-0.01, 0.01))
    assert "nearly all are clipped" in line


@pytest.mark.parametrize(
    "action",
    [box(-2, 2), box(-0.4, 0.4, 17), box(-np.inf, np.inf), box(0, np.inf), box(3, 3), gym.spaces.Discrete(1000)],
    ids=str,
)
def test_usual_spaces_are_no_news(action: Any) -> None:
    assert said(action) == []


def test_images_into_a_perceptron_are_named() -> None:
    (line,) = said(gym.spaces.Discrete(2), gym.spaces.Box(0, 1, (96, 96, 3)))
    assert "perceptron as 27,648 numbers" in line
    (line,) = said(gym.spaces.Discrete(2), gym.spaces.Box(0, 255, (7056,), np.uint8))
    assert "flattened image" in line
    assert said(gym.spaces.Discrete(2), gym.spaces.Box(0, 1, (5, 5))) == []


def test_hundreds_of_action_dimensions_are_named() -> None:
    (line,) = said(box(-1, 1, 200))
    assert line.startswith("200 action dimensions")


@pytest.mark.parametrize(
    ("episodes", "crashes", "environments", "fails"),
    [(0, 16, 16, True), (0, 200, 16, True), (0, 3, 16, False), (0, 0, 16, False), (5, 200, 16, False)],
)
def test_a_run_in_which_every_episode_crashed_has_failed(
    tmp_path: Path, episodes: int, crashes: int, environments: int, fails: bool
) -> None:
    summary = {"episodes": episodes, "env_restarts": crashes, "environments": environments, "newest_crash": "a: b"}
    (tmp_path / SUMMARY).write_text(json.dumps(summary))
    if not fails:
        check_that_episodes_ended(tmp_path)
        return
    with pytest.raises(DppoError, match=r"crashed in all of them .*; the newest: a: b$"):
        check_that_episodes_ended(tmp_path)


def test_a_directory_without_a_summary_says_nothing_about_episodes(tmp_path: Path) -> None:
    check_that_episodes_ended(tmp_path)


def test_a_wrapper_with_statistics_of_its_own_is_named() -> None:
    named = parse_wrappers(["gymnasium.wrappers.ClipReward", {"gymnasium.wrappers.NormalizeReward": {"gamma": 0.9}}])
    (line,) = wrapper_remarks(named)
    assert line.startswith("env.wrappers: NormalizeReward keeps statistics of its own in every environment")
    assert "ppo.normalise_rewards" in line


@pytest.mark.parametrize(
    ("staleness", "memory", "lines"), [(2, "gru", 1), (8, "lstm", 1), (1, "gru", 0), (2, "none", 0)]
)
def test_a_memory_with_steps_of_much_older_policies_is_named(staleness: int, memory: str, lines: int) -> None:
    config = build(LearnerConfig, {"collect.max_staleness": staleness, "network.memory": memory})
    found = config_remarks(config)
    assert len(found) == lines
    assert all(f"collect.max_staleness={staleness} with network.memory={memory}" in line for line in found)
