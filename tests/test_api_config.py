"""Settings of `dppo.train`: by section, by dotted name, from files and variables, and as a Config."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dppo
from dppo.api.config import resolved_settings
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import values_of


def config_of(**keywords: Any) -> TrainConfig:
    config, preset = keywords.pop("config", None), keywords.pop("preset", "")
    return resolved_settings(config, preset, keywords).config


def test_settings_by_section_and_by_dotted_name() -> None:
    config = config_of(
        env="Pendulum-v1", seed=np.int64(3), total_steps=2e5, ppo={"gamma": np.float32(0.5)}, directory=Path("runs/x"),
        **{"collect.batch_steps": 4096, "network": {"policy_hidden": np.array([8, 8])[:2].tolist()}},
    )  # fmt: skip
    learner = config.learner
    assert (learner.env.id, learner.run.seed, learner.run.total_steps) == ("Pendulum-v1", 3, 200_000)
    assert (learner.ppo.gamma, learner.collect.batch_steps, learner.network.policy_hidden) == (0.5, 4096, (8, 8))
    assert learner.run.directory == "runs/x"


def test_layers_are_those_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("env: {id: Pendulum-v1}\nppo: {gamma: 0.5, epochs: 3, gae_lambda: 0.3}\nactors: 7\n")
    monkeypatch.setenv("DPPO_PPO__EPOCHS", "4")
    monkeypatch.setenv("DPPO_PPO__GAE_LAMBDA", "0.4")
    preset = config_of(env="Pendulum-v1")
    for config in (file, str(file), {"env": "Pendulum-v1", "ppo": {"gamma": 0.5, "epochs": 3}, "actors": 7}):
        made = config_of(config=config, **{"ppo.gae_lambda": 0.6})
        assert (made.actors, made.learner.ppo.gamma, made.learner.ppo.epochs) == (7, 0.5, 4)
        assert made.learner.ppo.gae_lambda == 0.6
        assert made.learner.run.target_return == preset.learner.run.target_return is not None


def test_a_config_is_complete() -> None:
    config = dppo.Config.from_dict({"env": "Pendulum-v1", "ppo": {"gamma": 0.5}, "run.seed": 4})
    assert (config.env.id, config.ppo.gamma, config.run.seed) == ("Pendulum-v1", 0.5, 4)
    assert config.collect == TrainConfig().learner.collect
    assert config.network == TrainConfig().learner.network
    made = config_of(config=config, actors=9)
    assert type(made) is TrainConfig
    assert values_of(made) == config.to_dict() | {"actors": 9}
    with pytest.raises(dppo.UsageError, match="a Config has all settings already"):
        config_of(config=config, preset="Pendulum-v1")
    with pytest.raises(AttributeError):
        config.actors = 3


def test_a_config_is_made_as_a_run_is_begun() -> None:
    config = dppo.Config(env="Pendulum-v1", actors=3, seed=4, ppo={"gamma": 0.5}, **{"collect.batch_steps": 4096})
    assert (config.env.id, config.actors, config.run.seed) == ("Pendulum-v1", 3, 4)
    assert (config.ppo.gamma, config.collect.batch_steps) == (0.5, 4096)
    assert dppo.Config.from_dict(config.to_dict()) == config
    assert dppo.Config() == dppo.Config.from_dict({})
    other = dataclasses.replace(config, actors=5)
    assert (type(other), other.actors, other.ppo) == (dppo.Config, 5, config.ppo)
    with pytest.raises(dppo.UsageError, match=r"^dppo\.Config: unknown key gamma \(did you mean ppo\.gamma\?\)$"):
        dppo.Config(gamma=0.5)


def test_sections_of_a_config_are_given_on() -> None:
    config = dppo.Config(env={"id": "Pendulum-v1", "kwargs": {"g": 9.0}}, ppo={"gamma": 0.5}, seed=4)
    made = config_of(preset="none", env=config.env, ppo=config.ppo, network=config.network, collect=config.collect)
    assert (made.learner.env, made.learner.ppo) == (config.env, config.ppo)
    assert dppo.Config(env=config.env, ppo=config.ppo, run=config.run) == config


def test_a_config_survives_yaml(tmp_path: Path) -> None:
    config = dppo.Config.from_dict({"env": {"id": "a:b", "kwargs": {"x": [1, "{slot}"]}}, "ppo.learning_rate": 3e-4})
    text = config.to_yaml(tmp_path / "a.yaml")
    assert dppo.Config.from_yaml(tmp_path / "a.yaml") == config
    assert (tmp_path / "a.yaml").read_text() == text
    with pytest.raises(dppo.UsageError, match="cannot read"):
        dppo.Config.from_yaml(tmp_path / "b.yaml")
    with pytest.raises(dppo.UsageError, match="cannot write"):
        config.to_yaml(tmp_path / "no" / "b.yaml")
