"""A command line to values by path. Knows settings and their flags; knows no files and no other layers.

Every layer converts text in the same place (fields.py), so `3e-4`, `1e5` and `200_000` mean the same in a flag, in
an environment variable and in a file. tyro shows the help (help.py) but does not parse: importing it and
building its parser takes longer than everything else that happens before the first process starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_origin

from dppo.protocol.env_names import check_env_name
from dppo.protocol.errors import UsageError
from dppo.settings.fields import Setting, convert
from dppo.settings.suggestions import suggestion

SHORT_FORMS = {
    "env": "env.id",
    "seed": "run.seed",
    "steps": "run.total_steps",
    "init_from": "run.init_from",
    "on": "deploy.engine",
}
OF_TIMELINES = {"from": "from_seconds", "to": "to_seconds"}  # `from` cannot be the name of a field


def flag_of(path: str) -> str:
    """Return a setting's flag: --ppo.learning-rate for ppo.learning_rate."""
    return f"--{path.replace('_', '-')}"


@dataclass
class Flags:
    """Contents of a command line."""

    values: dict[str, Any] = field(default_factory=dict)  # by path
    extra: dict[str, str] = field(default_factory=dict)  # text of flags that are no settings: config, preset
    switches: set[str] = field(default_factory=set)  # flags without a value: print_config
    rest: list[str] = field(default_factory=list)  # what followed `--`


def parse_flags(
    arguments: Sequence[str],
    settings: Mapping[str, Setting],
    *,
    positional: str = "",
    extra: Sequence[str] = (),
    switches: Sequence[str] = (),
) -> Flags:
    """Values by path. `positional` names the settings that take arguments without a flag. Raises UsageError."""
    flags = Flags()
    loose: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        if argument == "--":
            flags.rest, queue = queue, []
        elif not argument.startswith("--"):
            if not positional or (argument.startswith("-") and not _is_number(argument)):
                raise UsageError(_unexpected(argument, settings))
            loose.append(argument)
        else:
            shown, equals, attached = argument.partition("=")
            _read_flag(shown, [attached] if equals else None, queue, settings, extra, switches, flags)
    if loose:
        _add_positional(flags.values, loose, [settings[name] for name in positional.split()])
    return flags


def refuse_settings_of_runs(
    command: str, arguments: Sequence[str], settings: Mapping[str, Setting], of_runs: Mapping[str, Setting]
) -> None:
    """Raise UsageError for a setting of the runs that a command starts which does not follow `--`."""
    for argument in arguments:
        if argument == "--":
            return
        shown = argument.partition("=")[0]
        name = shown.removeprefix("--").replace("-", "_")
        if shown.startswith("--") and name not in settings and SHORT_FORMS.get(name, name) in of_runs:
            raise UsageError(
                f"unknown flag {shown}: settings of the runs follow --, as in dppo {command} ... -- {shown} VALUE"
            )


def _unexpected(argument: str, settings: Mapping[str, Setting]) -> str:
    """Return what is wrong with an argument that is no flag, and what was meant."""
    if argument.startswith("dppo1."):
        return "a join line stands alone: give it as --join LINE (or in DPPO_JOIN, which does not show in ps)"
    name, equals, value = argument.lstrip("-").partition("=")
    path = name.replace("-", "_")
    if argument.startswith("-") or equals:
        path = path if path in settings else SHORT_FORMS.get(path, path)
        if path in settings:
            return f"unexpected argument {argument}: write {flag_of(path)} {value or 'VALUE'}"
        return f"unexpected argument {argument}{suggestion(path, settings, flag_of)}: flags begin with two dashes"
    example = "--ppo.gamma 0.99" if "ppo.gamma" in settings else f"{flag_of(next(iter(settings)))} VALUE"
    return f"unexpected argument {argument}: every setting has a name, as in {example}"


def _read_flag(
    shown: str,
    attached: list[str] | None,
    queue: list[str],
    settings: Mapping[str, Setting],
    extra: Sequence[str],
    switches: Sequence[str],
    flags: Flags,
) -> None:
    name = shown[2:].replace("-", "_")
    path = name if name in settings else SHORT_FORMS.get(name, name)
    path = OF_TIMELINES[name] if OF_TIMELINES.get(name) in settings else path
    if name in switches and attached is not None:
        raise UsageError(f"{shown} takes no value: leave ={attached[0]} out")
    if name in switches:
        flags.switches.add(name)
        return
    if name in extra:
        flags.extra[name] = _value_text(shown, attached, queue)
        return
    head, _, last = path.rpartition(".")
    negated = f"{head}.{last[3:]}" if head else last[3:]
    if last.startswith("no_") and negated in settings and settings[negated].type is bool and attached is None:
        flags.values[negated] = False
        return
    if path not in settings:
        forms = SHORT_FORMS | OF_TIMELINES
        known = [*settings, *extra, *switches, *(short for short in forms if forms[short] in settings)]
        raise UsageError(f"unknown flag {shown}{suggestion(path, known, flag_of)}")
    setting = settings[path]
    if setting.type is bool and attached is None and (not queue or queue[0].lower() not in ("true", "false")):
        flags.values[path] = True
    elif get_origin(setting.type) is tuple and attached is None:
        more = convert(setting, " ".join(_take_values(shown, queue)), where=shown, text=True)
        flags.values[path] = (*flags.values.get(path, ()), *more)  # given again: one more
    else:
        flags.values[path] = convert(setting, _value_text(shown, attached, queue), where=shown, text=True)


def _value_text(shown: str, attached: list[str] | None, queue: list[str]) -> str:
    if attached is not None:
        return attached[0]
    if not queue or (queue[0].startswith("-") and queue[0] != "-" and not _is_number(queue[0])):
        raise UsageError(f"{shown} needs a value")
    return queue.pop(0)


def _take_values(shown: str, queue: list[str]) -> list[str]:
    values = [_value_text(shown, None, queue)]
    while queue and not queue[0].startswith("-"):
        values.append(queue.pop(0))
    return values


def _add_positional(values: dict[str, Any], loose: list[str], settings: list[Setting]) -> None:
    """Add arguments without a flag. Raises UsageError where there are too many, or a flag has said the same already."""
    if get_origin(settings[0].type) is tuple:
        values[settings[0].path] = tuple(loose)
        return
    if settings[0].path == "env.id":
        check_env_name(loose[0])
    if len(loose) > len(settings):
        last = settings[-1].path
        raise UsageError(f"unexpected argument {loose[len(settings)]}: {last} is already {loose[len(settings) - 1]}")
    for setting, text in zip(settings, loose, strict=False):
        if values.get(setting.path, text) != text:
            raise UsageError(f"unexpected argument {text}: {setting.path} is already {values[setting.path]}")
        if not text:
            raise UsageError(f"{setting.path} is empty")
        values[setting.path] = convert(setting, text, where=setting.path, text=True) if setting.type is int else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
