"""Settings in layers: defaults < preset < file < environment < flags. Knows where values come from, not what they do.

Layers are merged as plain values by path and the dataclasses are built once, at the end: their checks see the final
values only, so that a preset and a file may each be incomplete.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from dppo.protocol.errors import UsageError
from dppo.settings.fields import (
    Config,
    Setting,
    build,
    convert,
    nearest,
    secrets_of,
    settings_of,
    values_of,
)
from dppo.settings.former_settings import translated, with_former
from dppo.settings.idle_settings import refuse_idle
from dppo.settings.preset_files import PRESETS, preset_names, preset_of
from dppo.settings.suggestions import suggestion

DEFAULT = "default"
OTHER_SECTIONS = ("deploy",)  # of files, for `dppo up`
# read by other commands and by processes that we start, and no settings
OTHER_VARIABLES = {
    *(
        f"DPPO_{name}"
        for name in ("PRESET", "JOIN", "JOIN_FILE", "LEARNER", "INSECURE", "NAME", "ENVS", "COUNT", "CONFIG")
    ),
    *(f"DPPO_{name}" for name in ("HEALTH_FILE", "FAILPOINT", "LAUNCHED_AT", "LIFELINE_FD", "STATUS_FD", "FIRST_SLOT")),
    *(f"DPPO_HOST_{name}" for name in ("RUNS", "COMPOSE", "TENSORBOARD")),
    "DPPO_STATEFUL_EXAMPLES",  # of the tests
}
COMPOSE_VARIABLES = (  # docker-compose*.yml
    *(
        f"DPPO_{name}"
        for name in ("ENV", "ARGS", "RUNS", "TAG", "RESTART", "MODULES", "PACKAGES", "PUBLISH", "UID", "GID")
    ),
    *(f"DPPO_{name}" for name in ("ACTOR_ARGS", "LEARNER_MEMORY", "ACTOR_MEMORY", "ACTORS_MEMORY")),
)
_NOT_READ = tuple(f"DPPO_{section.upper()}__" for section in OTHER_SECTIONS)
ENVIRONMENTS_OWN = ("DPPO_SLOT", "DPPO_ACTOR", "DPPO_COLUMN")  # set for environments, always all of them


@dataclass(frozen=True)
class Resolved(Generic[Config]):
    """A configuration and where each of its values comes from."""

    config: Config
    sources: dict[str, str]  # path -> default, preset X, file X, environment, flag
    preset: str  # "" when none was used
    preset_was_asked_for: bool  # False: found by the environment's id
    extra: Mapping[str, str] = field(default_factory=dict)  # flags that are no settings: seeds
    switches: frozenset[str] = frozenset()  # of those, the ones without a value: run.new
    arguments: tuple[str, ...] = ()  # of the command, as typed
    first_line: str = ""  # on the preset and the environment; "": nothing to tell


@dataclass(frozen=True)
class Layer:
    """Values by path, and their common source."""

    source: str
    values: Mapping[str, Any]


def load_config_file(path: str | Path, config: type[object] | None = None) -> dict[str, Any]:
    """Values by path from a YAML file shaped like `config`, or like a run's. Raises UsageError for what does not fit.

    Settings that only a sibling command has (`actors` in a learner's file) are left out.
    """
    try:
        text = Path(os.path.expanduser(path)).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UsageError(f"cannot read {path}: {reason}") from None
    from dppo.settings.yaml_text import YAMLError, load

    try:
        tree = load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{line} is not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UsageError(f"{path}: the top level must be a mapping such as `ppo: {{gamma: 0.99}}`")
    config = config or _siblings()[0]
    settings = settings_of(config)
    found: dict[str, Any] = {}
    _read_section(tree, "", with_former(settings), _foreign(config, settings), str(path), found)
    return translated(found, str(path))


def read_tree(tree: Mapping[Any, Any], config: type[object], where: str) -> dict[str, Any]:
    """Values by path from nested dicts, dotted keys, or both. Raises UsageError for whatever does not fit.

    where: named in the error.
    """
    found: dict[str, Any] = {}
    _read_section(tree, "", settings_of(config), set(), where, found)
    return found


def _siblings() -> tuple[type[object], ...]:
    """Return the settings of a run: a file for one of them is good for the other. Actors start without them."""
    from dppo.settings.commands import LearnerProcessConfig, TrainConfig

    return TrainConfig, LearnerProcessConfig


def _foreign(config: type[object], settings: Mapping[str, Setting]) -> set[str]:
    if "env.id" not in settings:
        return set()
    others = set(OTHER_SECTIONS) - {path.split(".")[0] for path in settings}
    return others | {path for sibling in _siblings() for path in settings_of(sibling)} - set(settings)


def _read_section(
    tree: Mapping[Any, Any],
    prefix: str,
    settings: Mapping[str, Setting],
    foreign: set[str],
    where: str,
    found: dict[str, Any],
) -> None:
    sections = {path.split(".")[0] for path in settings if "." in path}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if path in found:
            raise UsageError(f"{where}: {path} is given twice")
        if path in settings:
            found[path] = convert(settings[path], value, where=f"{where}: {path}", text=False)
        elif path in foreign:
            continue
        elif path not in sections:
            raise UsageError(f"{where}: unknown key {path}{suggestion(path, [*settings, *sections])}")
        elif isinstance(value, dict):
            _read_section(value, f"{path}.", settings, foreign, where, found)
        elif value is not None:
            raise UsageError(f"{where}: {path}: {value!r} is not a mapping; its settings are indented below `{path}:`")


def variable_of(path: str) -> str:
    """Return the environment variable of a setting: DPPO_PPO__GAMMA for ppo.gamma."""
    return "DPPO_" + path.replace(".", "__").upper()


def environment_values(config: type[object], environ: Mapping[str, str]) -> dict[str, Any]:
    """Values by path from DPPO_<SECTION>__<NAME> variables. An empty variable counts as not set.

    Raises UsageError for an unknown DPPO_ variable: a run with the default in its place would be another one.
    """
    settings = settings_of(config)
    known = {variable_of(path): path for path in settings}
    elsewhere = set(OTHER_VARIABLES)
    if set(ENVIRONMENTS_OWN) <= set(environ):  # this process was started by an environment of an actor
        elsewhere |= set(ENVIRONMENTS_OWN)
    found: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith("DPPO_") or not text:
            continue
        if variable in known:
            found[known[variable]] = convert(settings[known[variable]], text, where=variable, text=True)
        elif variable in elsewhere or variable.startswith(_NOT_READ) or variable in COMPOSE_VARIABLES:
            continue
        elif variable not in {variable_of(path) for sibling in _siblings() for path in settings_of(sibling)}:
            near = suggestion(variable.removeprefix("DPPO_").replace("__", ".").lower(), settings, variable_of)
            raise UsageError(f"unknown environment variable {variable}{near}: rename or unset it")
    return found


def resolve(
    config: type[Config],
    *,
    flags: Mapping[str, Any],
    file: str = "",
    given: Layer | None = None,
    preset: str = "",
    environ: Mapping[str, str] | None = None,
) -> Resolved[Config]:
    """One configuration out of all layers.

    `flags` are values by path. `preset` is a name, "none", or "" to take the one named like the environment. `given`
    has the place of a file.
    """
    layers = [Layer(f"file {file}", load_config_file(file, config))] if file else []
    layers += [given] if given is not None else []
    environ = os.environ if environ is None else environ
    layers += [Layer("environment", environment_values(config, environ)), Layer("flag", flags)]
    if "env.id" in settings_of(config) and not preset:
        _refuse_compose_env(environ, layers)
    name = _chosen_preset(config, layers, preset)
    if name:
        layers.insert(0, Layer(f"preset {name}", load_config_file(PRESETS / f"{name}.yaml", config)))
    return merge(config, layers, preset=name, preset_was_asked_for=bool(preset))


def _refuse_compose_env(environ: Mapping[str, str], layers: Sequence[Layer]) -> None:
    """Raise UsageError where DPPO_ENV names an environment and nothing that we read does."""
    wanted = environ.get("DPPO_ENV", "")
    if wanted and not any("env.id" in layer.values for layer in layers):
        raise UsageError(
            f"DPPO_ENV={wanted} is read by docker compose only: give --env {wanted}, or set {variable_of('env.id')}"
        )


def resolve_file(config: type[Config], file: str, *, flags: Mapping[str, Any]) -> Resolved[Config]:
    """The short way for children of a local run: a file that is already resolved, and flags; nothing else counts."""
    return merge(config, [Layer(f"file {file}", load_config_file(file, config)), Layer("flag", flags)])


def merge(
    config: type[Config], layers: Sequence[Layer], *, preset: str = "", preset_was_asked_for: bool = False
) -> Resolved[Config]:
    """Later layers win; then the dataclasses check the result."""
    settings = settings_of(config)
    values: dict[str, Any] = {}
    sources = dict.fromkeys(settings, DEFAULT)
    for layer in layers:
        values |= layer.values
        sources |= dict.fromkeys(layer.values, layer.source)
    missing = [path for path, setting in settings.items() if setting.required and path not in values]
    if missing:
        flag, variable = missing[0].replace("_", "-"), missing[0].upper()
        raise UsageError(f"{missing[0]} is missing: give --{flag} VALUE or set DPPO_{variable}")
    refuse_idle(values, sources)
    try:
        return Resolved(build(config, values), sources, preset, preset_was_asked_for)
    except UsageError as error:
        raise UsageError(f"{error}{_origin(str(error), sources)}") from None


def _origin(text: str, sources: Mapping[str, str]) -> str:
    """Return which layer set the value that a check complains about, when it is not obvious."""
    source = sources.get(text.split("=", 1)[0], "")
    return f" [from {source}]" if source not in ("", DEFAULT, "flag") else ""


def _chosen_preset(config: type[object], layers: Sequence[Layer], asked: str) -> str:
    if "env.id" not in settings_of(config) or asked == "none":
        return ""
    if not asked:
        default = values_of(build(config, {}))["env.id"]  # a configuration with environments has defaults for all
        chosen = [layer.values["env.id"] for layer in layers if "env.id" in layer.values]
        return preset_of(chosen[-1] if chosen else default)
    if asked not in preset_names():
        names = ", ".join([*preset_names(), "none"])
        raise UsageError(f"unknown preset {asked}{nearest(asked, preset_names())}: choose one of {names}")
    return asked


def dump_yaml(config: object, sources: Mapping[str, str] | None = None) -> str:
    """The configuration as YAML, one line a setting; it loads back equal. With `sources`, a comment says who set it."""
    from dppo.settings.yaml_text import lines_of

    lines: list[tuple[str, str]] = []
    section = ""
    shown = dict.fromkeys((path for path in secrets_of(type(config)) if getattr(config, path)), "(hidden)")
    values = values_of(config) | shown
    texts = lines_of([list(value) if isinstance(value, tuple) else value for value in values.values()])
    for path, text in zip(values, texts, strict=True):
        head, dot, name = path.rpartition(".")
        if head != section and head:
            lines.append((f"{head}:", ""))
        section = head
        lines.append((f"{'  ' if dot else ''}{name}: {text}", (sources or {}).get(path, "")))
    width = max(len(line) for line, source in lines if source) if sources else 0
    return "".join(f"{line:<{width}}  # {source}\n" if source else f"{line}\n" for line, source in lines)
