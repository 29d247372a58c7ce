"""Settings that are searched, and between which values: a default for PPO, or a YAML file. Knows names and ranges."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import convert, nearest_name, settings_of

DEFAULT = """\
ppo.learning_rate: {low: 3.0e-5, high: 3.0e-3, log: true}
ppo.epochs: {choices: [3, 5, 10, 20]}
ppo.minibatch_steps: {choices: [64, 128, 256, 512]}
ppo.gamma: {choices: [0.9, 0.95, 0.98, 0.99, 0.995, 0.999]}
ppo.gae_lambda: {choices: [0.9, 0.95, 0.98]}
ppo.clip_range: {choices: [0.1, 0.2, 0.3]}
ppo.entropy_coefficient: {low: 1.0e-5, high: 3.0e-2, log: true}
ppo.learning_rate_schedule: {choices: [constant, linear]}
collect.batch_steps: {choices: [512, 1024, 2048, 4096]}
"""


class Trial(Protocol):
    """The part of an optuna.Trial that is needed."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Choose a number."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Choose a whole number."""

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """Choose one of a few."""


@dataclass(frozen=True)
class Parameter:
    """Values that one setting may take: choices, or a range."""

    path: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    is_whole: bool = False

    def suggest(self, trial: Trial) -> Any:
        """Return the trial's value, as Optuna keeps it."""
        if self.choices:
            return trial.suggest_categorical(self.path, [kept(choice) for choice in self.choices])
        if self.is_whole:
            return trial.suggest_int(self.path, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.path, self.low, self.high, log=self.log)

    def value(self, as_kept: Any) -> Any:
        """Return the value of the setting, of one that Optuna has kept."""
        return next((choice for choice in self.choices if kept(choice) == as_kept), as_kept)


def kept(choice: Any) -> Any:
    """Return a choice as Optuna takes it: a list of widths as text."""
    return choice if isinstance(choice, bool | int | float | str) or choice is None else json.dumps(choice)


def read_space(file: str) -> tuple[Parameter, ...]:
    """The search space of a YAML file, "" for the default. Raises UsageError for whatever does not fit."""
    from dppo.settings.yaml_text import YAMLError, load

    try:
        text = Path(file).read_text(encoding="utf-8") if file else DEFAULT
        tree = load(text)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(tree, dict) or not tree:
        raise UsageError(f"{file}: expected settings with their values, such as {DEFAULT.splitlines()[0]}")
    return tuple(_parameter(str(path), values, file or "the default space") for path, values in tree.items())


def _parameter(path: str, values: Any, file: str) -> Parameter:
    settings = settings_of(TrainConfig)
    if path not in settings:
        near = nearest_name(path, settings)
        raise UsageError(f"{file}: {path} is no setting{f': did you mean {near}?' if near else ''}")
    if path.startswith(("run.", "env.")):
        raise UsageError(f"{file}: {path} is not searched: it says what is learned and for how long, not how")
    if not isinstance(values, Mapping) or not ({"choices"} == set(values) or {"low", "high"} <= set(values)):
        raise UsageError(
            f"{file}: {path} needs {{choices: [...]}} or {{low: ..., high: ...}}, and log: true for a ratio"
        )
    setting, where = settings[path], f"{file}: {path}"
    if "choices" in values:
        if not isinstance(values["choices"], list) or not values["choices"]:
            raise UsageError(f"{file}: {path}: choices must be a list of values")
        return Parameter(path, tuple(convert(setting, value, where=where, text=False) for value in values["choices"]))
    low, high = (float(convert(setting, values[side], where=where, text=False)) for side in ("low", "high"))
    is_log = values.get("log", False) is True
    if not (low < high and math.isfinite(high)) or (is_log and low <= 0):
        must = "low must be above 0 where log is true" if low < high else "low must be below high"
        raise UsageError(f"{file}: {path} from {low:g} to {high:g} is no range: {must}")
    return Parameter(path, low=low, high=high, log=is_log, is_whole=setting.type is int)
