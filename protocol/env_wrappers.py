"""Wrappers of the environment by name: the form of `env.wrappers`, checked. Imports nothing; both sides need it."""

import json
import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dppo.protocol.errors import UsageError
from dppo.protocol.placeholders import check_placeholders, has_placeholder

FORMS = "write module:Class, or {module:Class: {argument: value}}"


@dataclass(frozen=True)
class EnvWrapper:
    """One wrapper, as a class of a module."""

    module: str
    kind: str  # name of the class
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name as one writes it."""
        return f"{self.module}:{self.kind}"

    @property
    def spellings(self) -> tuple[str, str]:
        """Return both names that mean it: module:Class and module.Class."""
        return self.name, f"{self.module}.{self.kind}"


def parse_wrappers(entries: Sequence[Any]) -> tuple[EnvWrapper, ...]:
    """Return the wrappers of `env.wrappers`, the innermost first. Raises UsageError where an entry has another form."""
    return tuple(_wrapper(entry) for entry in entries)


def read_wrappers(wrappers_json: str) -> tuple[EnvWrapper, ...]:
    """Return the wrappers that a message names. Raises UsageError."""
    try:
        entries = json.loads(wrappers_json)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"env.wrappers is not JSON: {error} in {wrappers_json[:200]!r}") from None
    if not isinstance(entries, list):
        raise UsageError(f"env.wrappers must be a JSON list, not {wrappers_json[:200]!r}")
    return parse_wrappers(entries)


def wrappers_json(entries: Sequence[Any]) -> str:
    """Return the wrappers as a message carries them. Raises UsageError where an argument is no plain JSON value."""
    try:
        return json.dumps(list(entries)).replace("\x7f", "\\u007f")  # the one unprintable character that json leaves
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"env.wrappers={list(entries)} must be plain JSON values: {error}") from None


def refuse_native(vectorization: str) -> None:
    """Raise UsageError where environments that have wrappers are to be a native vector."""
    if vectorization == "native":
        raise UsageError(
            "env.wrappers wrap single environments, and env.vectorization=native has none: take sync or async"
        )


def differ_by_environment(wrappers: Sequence[EnvWrapper]) -> bool:
    """Whether an argument holds a placeholder, so that environments with other numbers get something else."""
    return any(has_placeholder(wrapper.arguments) for wrapper in wrappers)


def _wrapper(entry: Any) -> EnvWrapper:
    name, arguments = entry, None
    if isinstance(entry, Mapping):
        if len(entry) != 1:
            raise UsageError(
                f"env.wrappers: {_short(entry)} has {len(entry)} names: every wrapper is an entry; {FORMS}"
            )
        ((name, arguments),) = entry.items()
    if not isinstance(name, str):
        raise UsageError(f"env.wrappers: {_short(entry)} names no wrapper: {FORMS}")
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping) or not all(isinstance(key, str) for key in arguments):
        raise UsageError(f"env.wrappers: the arguments of {_short(name)} must be a mapping, not {_short(arguments)}")
    module, colon, kind = name.partition(":") if ":" in name else name.rpartition(".")
    if not colon or not all(_is_name(part) for part in (*module.split("."), kind)):
        raise UsageError(f"env.wrappers: {_short(name)} is no name of a class in a module: {FORMS}")
    check_placeholders(arguments, of=f"env.wrappers: {name}")
    return EnvWrapper(module, kind, arguments)


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
