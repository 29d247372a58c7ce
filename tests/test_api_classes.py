"""Wrappers, hooks and parts of networks given to the API as classes: taken by module and name, as environments are."""

import functools
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.wrappers import ClipReward, NormalizeReward, TransformReward

import dppo
from dppo.actor.envs.wrapping import keeping_statistics
from dppo.api.config import resolved_settings
from dppo.settings.commands import TrainConfig


class Halved(gym.RewardWrapper[Any, Any]):
    """Rewards of half the size."""

    def reward(self, reward: Any) -> Any:
        return reward / 2


class Watching:
    """Hooks."""

    def on_update(self, status: object) -> None:
        """Watch."""


def config_of(**keywords: Any) -> TrainConfig:
    return resolved_settings(None, "none", keywords).config


@pytest.mark.parametrize(
    ("wrappers", "names"),
    [
        ([Halved], ["test_api_classes:Halved"]),
        (Halved, ["test_api_classes:Halved"]),
        ("a:B", ["a:B"]),
        (
            ["a:B", {ClipReward: {"max_reward": 1}}],
            ["a:B", {"gymnasium.wrappers.transform_reward:ClipReward": {"max_reward": 1}}],
        ),
    ],
)
def test_wrappers_are_taken_by_their_names(wrappers: Any, names: list[Any]) -> None:
    for config in (
        config_of(env={"id": "CartPole-v1", "wrappers": wrappers}),
        config_of(env="CartPole-v1", **{"env.wrappers": wrappers}),
        dppo.Config.from_dict({"env": {"wrappers": wrappers}}),
    ):
        assert config.learner.env.wrappers == names


def test_hooks_are_taken_by_their_names() -> None:
    for config in (config_of(run={"hooks": Watching}), config_of(**{"run.hooks": Watching})):
        assert config.learner.run.hooks == "test_api_classes:Watching"


def make_part(*arguments: Any) -> None:
    """Stand for a function that makes a part of a network."""


@pytest.mark.parametrize("part", ["encoder", "head", "policy"])
def test_functions_that_make_parts_of_networks_are_taken_by_their_names(part: str) -> None:
    for config in (config_of(network={part: make_part}), config_of(**{f"network.{part}": make_part})):
        assert getattr(config.learner.network, part) == "test_api_classes:make_part"
    with pytest.raises(dppo.UsageError, match=rf"network\.{part} is a lambda.*my_nets\.py"):
        config_of(network={part: lambda leaves: None})
    with pytest.raises(dppo.UsageError, match=rf"network\.{part} is an object \(int\): give a function or class"):
        config_of(network={part: 3})


def test_classes_that_cannot_be_found_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Halved):
        pass

    with pytest.raises(dppo.UsageError, match=r"env\.wrappers=.*Local is defined inside a function, .*my_wrappers\.py"):
        config_of(env={"wrappers": [Local]})
    with pytest.raises(dppo.UsageError, match=r"env\.wrappers: functools\.partial.* is no class: give a class"):
        config_of(env={"wrappers": [functools.partial(Halved)]})
    with pytest.raises(dppo.UsageError, match=r"run\.hooks is an object \(Watching\): give its class, or hooks="):
        config_of(run={"hooks": Watching()})
    monkeypatch.setattr(Watching, "__module__", "__main__")
    with pytest.raises(dppo.UsageError, match=r"defined in __main__, .*my_hooks\.py.* or hooks=Watching with actors=0"):
        config_of(run={"hooks": Watching})


def test_wrappers_that_may_keep_statistics_are_found_whoever_put_them_there() -> None:
    env = TransformReward(Halved(NormalizeReward(gym.make("CartPole-v1"))), abs)
    assert keeping_statistics(env) == ("test_api_classes:Halved", "NormalizeReward")
    assert keeping_statistics(gym.make("CartPole-v1")) == ()
