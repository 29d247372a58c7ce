"""Settings of a run as an object, and those that `dppo.train` is given. Knows layers; starts nothing."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from dppo.api.callables import hooks_by_name, name_of, network_by_name, wrappers_by_name
from dppo.api.paths import path_text
from dppo.api.wording import python_words
from dppo.learner.config import CollectConfig, EnvConfig, NetworkConfig, PpoConfig, RunConfig
from dppo.learner.own_code import shown
from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build, values_of
from dppo.settings.flags import SHORT_FORMS
from dppo.settings.layers import Layer, Resolved, dump_yaml, load_config_file, read_tree, resolve

BY_NAME: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("env", "wrappers", wrappers_by_name),
    ("run", "hooks", hooks_by_name),
    *(
        ("network", part, partial(network_by_name, f"network.{part}"))
        for part in ("encoder", "memory", "head", "policy")
    ),
)
SECTIONS = (EnvConfig, CollectConfig, PpoConfig, NetworkConfig, RunConfig)
KEYWORDS = SHORT_FORMS | {"total_steps": "run.total_steps", "directory": "run.directory"}


@dataclass(frozen=True, init=False)
class Config(TrainConfig):
    """All settings of a run, checked when made: what is not given has its default, presets and variables left out."""

    def __init__(self, **settings: Any) -> None:
        """settings: as dppo.train takes them, env="...", ppo=dict(gamma=0.98); or the fields. Raises UsageError."""
        if "learner" not in settings:
            with python_words():
                settings = vars(build(TrainConfig, values_from(settings, "dppo.Config")))
        super().__init__(**settings)

    @classmethod
    @python_words()
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Make one of nested dicts, dotted names, or both: {"actors": 4, "ppo": {"gamma": 0.98}, "env.id": "..."}."""
        if not isinstance(settings, Mapping):
            raise UsageError(f"Config.from_dict: settings are a {type(settings).__name__}: give a dict")
        return build(cls, values_from(settings, "Config.from_dict"))

    @classmethod
    @python_words()
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Read a YAML file, such as the config.yaml of a run."""
        return build(cls, load_config_file(path_text(path, "path"), TrainConfig))

    def to_yaml(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return all settings as YAML, which reads back equal; write it to `path` if there is one."""
        text = dump_yaml(self)
        if path is not None:
            try:
                Path(path_text(path, "path")).write_text(text, encoding="utf-8")
            except OSError as error:
                raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return all settings by dotted name."""
        return values_of(self)

    @property
    def env(self) -> EnvConfig:
        """The section `env`."""
        return self.learner.env

    @property
    def collect(self) -> CollectConfig:
        """The section `collect`."""
        return self.learner.collect

    @property
    def ppo(self) -> PpoConfig:
        """The section `ppo`."""
        return self.learner.ppo

    @property
    def network(self) -> NetworkConfig:
        """The section `network`."""
        return self.learner.network

    @property
    def run(self) -> RunConfig:
        """The section `run`."""
        return self.learner.run


def resolved_settings(
    config: Config | Mapping[str, Any] | str | os.PathLike[str] | None, preset: str, keywords: Mapping[str, Any]
) -> Resolved[TrainConfig]:
    """Return settings out of all layers: defaults < preset < config < environment < keywords. Raises UsageError."""
    flags = values_from(keywords, "dppo.train")
    if not isinstance(preset, str | None):
        raise UsageError(f"preset={shown(preset)}: give its name as a text, for example 'CartPole-v1', or 'none'")
    if isinstance(config, TrainConfig):
        if preset not in ("", "none"):
            raise UsageError(f"preset={preset!r}: a Config has all settings already; leave one of them out")
        return resolve(TrainConfig, flags=flags, given=Layer("config", values_of(config)), preset="none")
    preset = preset or os.environ.get("DPPO_PRESET", "")
    if isinstance(config, Mapping):
        given = Layer("config", values_from(config, "config"))
        return resolve(TrainConfig, flags=flags, given=given, preset=preset)
    file = path_text(config, "config", "a Config, a dict, or the path of a YAML file") if config is not None else ""
    return resolve(TrainConfig, flags=flags, file=file, preset=preset)


def values_from(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return values by path of nested or dotted settings; functions and classes as env by their names."""
    tree: dict[Any, Any] = {}
    for name, given in settings.items():
        value = values_of(given) if isinstance(given, SECTIONS) else given
        path = "env" if name == "env" and isinstance(value, Mapping) else KEYWORDS.get(name, name)
        if path in tree:
            raise UsageError(f"{where}: {path} is given twice")
        tree[path] = name_of(value) if path == "env.id" and not isinstance(value, str) else plain_value(value)
    if isinstance(tree.get("env"), dict) and "id" in tree["env"] and not isinstance(tree["env"]["id"], str):
        tree["env"]["id"] = name_of(tree["env"]["id"])
    for section, name, by_name in BY_NAME:
        for place, key in ((tree, f"{section}.{name}"), (tree.get(section), name)):
            if isinstance(place, dict) and key in place:
                place[key] = by_name(place[key])
    return read_tree(tree, TrainConfig, where)


def plain_value(value: Any) -> Any:
    """Return the value as YAML would have it: numbers of numpy as Python's, paths as text."""
    if isinstance(value, Mapping):
        return {key: plain_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(entry) for entry in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    return value
