"""Environments named by module and function or class: made without a registration, in every way that actors step."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from dppo.actor.envs.lookup import make_single
from dppo.actor.envs.make import make_environments
from dppo.learner.config import EnvConfig
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.messages import EnvSettings

SOURCE = """
import gymnasium as gym
import numpy as np

class Reach(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, goal=1.0):
        self.goal = goal

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), self.goal, False, False, {}

def make_reach(goal=1.0, limit=None):
    environment = Reach(goal)
    return environment if limit is None else gym.wrappers.TimeLimit(environment, limit)

def make_wrapped():
    return gym.wrappers.FlattenObservation(gym.make("CartPole-v1"))

def make_limited(max_episode_steps=3):
    return gym.wrappers.TimeLimit(Reach(), max_episode_steps)

class Factory:
    @staticmethod
    def make():
        return Reach(5.0)

def make_nothing():
    return None

def make_vector():
    return gym.make_vec("CartPole-v1", num_envs=2)

gym.register("Registered-v0", entry_point=Reach, max_episode_steps=7)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "robots_by_name.py").write_text(SOURCE)
    yield "robots_by_name"
    gym.registry.pop("Registered-v0", None)
    sys.modules.pop("robots_by_name", None)


def first_rewards(env_id: str, kwargs: object = None, *, vectorization: str = "auto", steps: int = 1) -> list[float]:
    settings = EnvSettings(env_id, json.dumps(kwargs or {}), vectorization)
    environments = make_environments(settings, 2)
    try:
        environments.reset([1, 2])
        for _ in range(steps):
            step = environments.step(np.zeros(2, np.int64))
        return [*step.rewards.tolist(), *step.truncated.astype(float).tolist()]
    finally:
        environments.close()


@pytest.mark.parametrize(
    ("name", "kwargs", "reward"),
    [
        ("Reach", {}, 1.0),
        ("Reach", {"goal": 2.5}, 2.5),
        ("make_reach", {"goal": 3}, 3.0),
        ("Factory.make", {}, 5.0),
        ("make_wrapped", {}, 1.0),
        ("Registered-v0", {}, 1.0),
    ],
)
def test_a_function_or_class_makes_the_environment_with_its_arguments(
    module: str, name: str, kwargs: dict[str, float], reward: float
) -> None:
    assert first_rewards(f"{module}:{name}", kwargs) == [reward, reward, 0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "kwargs", "last"),
    [
        ("Reach", {"max_episode_steps": 4}, 4),
        ("make_reach", {"max_episode_steps": 4}, 4),
        ("make_reach", {"limit": 2}, 2),
        ("make_limited", {}, 3),
        ("make_limited", {"max_episode_steps": 5}, 5),
        ("Registered-v0", {}, 7),
    ],
)
def test_episodes_can_be_limited(module: str, name: str, kwargs: dict[str, int], last: int) -> None:
    assert first_rewards(f"{module}:{name}", kwargs, steps=last - 1)[2:] == [0.0, 0.0]
    assert first_rewards(f"{module}:{name}", kwargs, steps=last)[2:] == [1.0, 1.0]


@pytest.mark.slow
def test_a_function_makes_environments_in_processes_of_their_own(module: str) -> None:
    kwargs = {"goal": 4, "max_episode_steps": 2}
    assert first_rewards(f"{module}:make_reach", kwargs, vectorization="async", steps=2) == [4.0, 4.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("make_nothing", {}, "returned an object of NoneType: it must return a gymnasium.Env"),
        ("make_vector", {}, "returned a vector environment: return a single one"),
        ("make_reach", {"gaol": 1}, "unexpected keyword argument 'gaol'"),
        ("make_reech", {}, "did you mean robots_by_name:make_reach"),
        ("make_reach.x", {}, "has no function or class of that name"),
    ],
)
def test_what_makes_no_environment_is_one_line(module: str, name: str, kwargs: dict[str, int], words: str) -> None:
    with pytest.raises(DppoError) as caught:
        first_rewards(f"{module}:{name}", kwargs)
    assert type(caught.value) is UsageError
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_that_is_registered_too_is_noted_to_lose_its_time_limit(module: str) -> None:
    notes: list[str] = []
    make_environments(EnvSettings(f"{module}:Reach", "{}"), 1, note=notes.append).close()
    assert notes == [
        f"{module}:Reach is made without the settings of its registration as Registered-v0 (max_episode_steps=7): "
        f"to have them, name {module}:Registered-v0"
    ]
    make_environments(EnvSettings(f"{module}:make_reach", "{}"), 1, note=notes.append).close()
    make_environments(EnvSettings(f"{module}:Registered-v0", "{}"), 1, note=notes.append).close()
    assert len(notes) == 1


def test_single_environments_of_ids_are_gymnasiums_own() -> None:
    environment = make_single("CartPole-v1", {"max_episode_steps": 5})
    assert environment.spec is not None
    assert environment.spec.max_episode_steps == 5


def test_names_of_functions_are_taken_as_settings() -> None:
    assert EnvConfig(id="my_robot:make_env").id == "my_robot:make_env"
    assert EnvConfig(id="robots.arm:Factory.make").id == "robots.arm:Factory.make"
