"""Dataclasses as flat lists of settings: names, types, values from text. Knows neither files, nor flags, nor layers."""

import dataclasses
import difflib
import functools
import math
import os
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dppo.protocol.errors import UsageError
from dppo.protocol.security.join_line import PREFIX

Config = TypeVar("Config")
FLATTENED = {"flattened": True}  # metadata of a section whose settings appear without the section's name
REST = {"rest": True}  # metadata of a field that takes what follows `--`, and is no setting
LARGEST_INT = 2**53  # counts on the wire, in JSON and in float64
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Setting:
    """One setting of a configuration, wherever it is nested."""

    path: str  # as users write it: "ppo.gamma", or "actors" at the top
    type: Any  # its annotation, resolved
    required: bool


def settings_of(config: type[object], prefix: str = "") -> dict[str, Setting]:
    """All settings of a dataclass by path, in order; nested dataclasses are sections."""
    return dict(_known_settings(config, prefix))


def _settings_of(config: type[object], prefix: str) -> Mapping[str, Setting]:
    found: dict[str, Setting] = {}
    hints = _hints_of(config)
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        hint, path = hints[field.name], prefix + field.name
        if field.metadata == REST:
            continue
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found |= _known_settings(hint, prefix if field.metadata == FLATTENED else path + ".")
        else:
            missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            found[path] = Setting(path, hint, missing)
    return found


# most of the time that a resolution takes, which asks eight times for each class
_hints_of: Callable[[Any], Mapping[str, Any]] = functools.cache(get_type_hints)
_known_settings: Callable[[Any, str], Mapping[str, Setting]] = functools.cache(_settings_of)


def values_of(config: object, prefix: str = "") -> dict[str, Any]:
    """The values of a configuration by path, in order."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value, path = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            found |= values_of(value, prefix if field.metadata == FLATTENED else path + ".")
        else:
            found[path] = value
    return found


def secrets_of(config: type[object]) -> set[str]:
    """The settings at the top that must never be shown."""
    return {field.name for field in dataclasses.fields(config) if field.metadata.get("secret")}  # type: ignore[arg-type]


def build(config: type[Config], values: Mapping[str, Any], prefix: str = "") -> Config:
    """A configuration from values by path; what is not given keeps its default. Raises UsageError out of the checks."""
    arguments: dict[str, Any] = {}
    hints = _hints_of(config)
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        hint, path = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            arguments[field.name] = build(hint, values, prefix if field.metadata == FLATTENED else path + ".")
        elif path in values:
            arguments[field.name] = values[path]
    return config(**arguments)


def nearest_name(name: str, names: Iterable[str]) -> str:
    """Return the name that a mistyped one is nearest to; "" where none is near."""
    names = list(names)
    last = name.rsplit(".", 1)[-1]
    tails = {known.rsplit(".", 1)[-1]: known for known in reversed(names)}
    if last in tails:  # right name, wrong or missing section: gamma, training.gamma
        return tails[last]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        close = [tails[tail] for tail in difflib.get_close_matches(last, tails, n=1, cutoff=0.7)]
    return close[0] if close else ""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ` (did you mean X?)` for a mistyped name, or nothing when none is near."""
    close = nearest_name(name, names)
    return f" (did you mean {close}?)" if close else ""


def from_text(kind: Any, text: str) -> Any:
    """The value that a flag's or an environment variable's text stands for. Raises ValueError with what is expected."""
    inner = _optional(kind)
    if inner is not None:
        return None if text.strip().lower() in ("none", "null") else from_text(inner, text)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _number_or_word(kind, text)
    if kind is str:
        return _text(text)
    if kind is bool:
        if text.strip().lower() not in _WORDS:
            raise ValueError(f"{text!r} is neither true nor false")
        return _WORDS[text.strip().lower()]
    if kind in (int, float):
        return _number(kind, text)
    if origin is tuple:
        parts = text.strip().strip("[]()").replace(",", " ").split()
        return tuple(from_text(get_args(kind)[0], part) for part in parts)
    if origin in (dict, list):
        from dppo.settings.yaml_text import YAMLError, load  # PyYAML takes as long to import as all settings

        try:
            value = load(text)
        except YAMLError as error:
            example = "mapping such as {max_episode_steps: 100}" if origin is dict else "list such as [module:Wrapper]"
            problem = " ".join(str(getattr(error, "problem", None) or error).split())
            raise ValueError(f"{text!r} is not a {example} ({problem})") from error
        return from_value(kind, value)
    return _choice(kind, text)


def from_value(kind: Any, value: Any) -> Any:
    """A value as a YAML file has it, made to fit the setting's type. Raises ValueError with what is expected."""
    inner = _optional(kind)
    if inner is not None:
        return None if value is None else from_value(inner, value)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _number_or_word(kind, value)
    if kind in (int, float) and (isinstance(value, int | float | str) and not isinstance(value, bool)):
        return _number(kind, value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str):
        return _text(value)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(from_value(get_args(kind)[0], part) for part in value)
    if origin is tuple and isinstance(value, str | int | float):  # one entry, or several with commas between
        parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else [value]
        return tuple(from_value(get_args(kind)[0], part) for part in parts if part != "")
    if origin is list and isinstance(value, str | dict):
        return [value]
    if origin is list and isinstance(value, list | tuple):
        return list(value)
    if origin is dict and isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return value
    if origin is Literal:
        return _choice(kind, value)
    expected = {int: "a whole number", float: "a number", str: "text", bool: "true or false", tuple: "a list"}
    expected |= {list: "a list such as [module:Wrapper]", tuple: f"a list such as {_example(kind)}"}
    hint = " (YAML takes on, off, yes and no for these: quote them)" if kind is str and isinstance(value, bool) else ""
    hint = " (leave the setting out)" if kind is str and value is None else hint
    raise ValueError(f"{value!r} is not {expected.get(origin or kind, 'a mapping with text keys')}{hint}")


def _example(kind: Any) -> str:
    """Return a list of such entries, as one writes it."""
    return "[64, 64]" if get_args(kind)[:1] == (int,) else "[first, second]"


def _number_or_word(kind: Any, value: Any) -> Any:
    """Return a value of `int | Literal["word"]`."""
    number, words = get_args(kind)
    if value in get_args(words):
        return value
    try:
        return from_value(number, value)
    except ValueError as error:
        near = nearest(str(value), get_args(words))
        raise ValueError(f"{error}, nor {' or '.join(get_args(words))}{near}") from None


def _optional(kind: Any) -> Any:
    """X of `X | None`; None for any other type."""
    if get_origin(kind) in (Union, types.UnionType) and types.NoneType in get_args(kind):
        return next(part for part in get_args(kind) if part is not types.NoneType)
    return None


def _text(text: str) -> str:
    """Return the text, which goes into file names and files; ~/ is the home. Raises ValueError where it cannot.

    A join line may have been copied with its line end; it is a secret and never repeated.
    """
    is_join_line = PREFIX in text
    text = text.strip("\r\n") if is_join_line else text
    if text.startswith("~/"):  # no shell has seen it in a file, in a variable, or behind an =
        text = os.path.expanduser(text)
    if not text.isprintable():
        raise ValueError(f"{'the line' if is_join_line else repr(text)} has control characters, or is no UTF-8")
    return text


def _number(kind: type[int] | type[float], value: int | float | str) -> int | float:
    try:
        if kind is int and isinstance(value, str) and re.fullmatch(r"\s*[-+]?[\d_]+\s*", value):
            value = int(value)
        number = value if isinstance(value, int) else float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a {'whole ' if kind is int else ''}number") from None
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    if kind is int and number != int(number):
        raise ValueError(f"{value!r} is not a whole number")
    if kind is int and abs(number) > LARGEST_INT:
        raise ValueError(f"{value!r} is too large: at most {LARGEST_INT:,}")
    return kind(number)


def _choice(kind: Any, value: Any) -> Any:
    choices = get_args(kind)
    if value not in choices:
        near = nearest(str(value), map(str, choices))
        raise ValueError(f"{value!r} is not one of {', '.join(map(str, choices))}{near}")
    return value


def convert(setting: Setting, value: Any, *, where: str, text: bool) -> Any:
    """`from_text` or `from_value`, its ValueError turned into a UsageError that says where the value stood."""
    try:
        return from_text(setting.type, value) if text else from_value(setting.type, value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
