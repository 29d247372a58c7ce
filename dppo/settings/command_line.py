"""Settings of a command out of its arguments, or its help. Knows layers and flags; runs nothing."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from dppo.protocol.errors import UsageError
from dppo.settings.fields import REST, Config, build, settings_of
from dppo.settings.first_line import preset_text
from dppo.settings.flags import parse_flags, refuse_settings_of_runs
from dppo.settings.layers import Resolved, dump_yaml, resolve, resolve_file

SWITCHES = {"train": ("run.new", "trace"), "learner": ("run.new",), "up": ("dry_run",)}  # beside print_config


def _wants_help(arguments: Sequence[str]) -> bool:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--help" in own or "-h" in own


def layered(command: str, config: type[Config], arguments: list[str]) -> Resolved[Config] | None:
    """Settings of a command out of all layers; None when the user only wanted to read something, which is printed."""
    settings = settings_of(config)
    has_presets = "env.id" in settings
    if _wants_help(arguments):
        from dppo.settings.help import DryRunFlags, FileFlags, PresetFlags, RunFlags, SeedFlags, TraceFlags, show_help

        common = (FileFlags, PresetFlags, RunFlags)
        layers = {
            "train": (*common, SeedFlags, TraceFlags),
            "learner": common,
            "check": (FileFlags, PresetFlags),
            "up": (FileFlags, PresetFlags, DryRunFlags),
        }
        show_help(config, program=f"dppo {command}", layers=layers.get(command, (FileFlags,)))
        return None
    extra = ("config", "preset") if has_presets else ("config",)
    flags = parse_flags(
        arguments,
        settings,
        positional="env.id" if has_presets else "",
        extra=(*extra, "seeds") if command == "train" else extra,
        switches=("print_config", *SWITCHES.get(command, ())),
    )
    if flags.rest:
        raise UsageError(f"unexpected argument {flags.rest[0]} after --")
    child_file, preset = os.environ.get("DPPO_CONFIG", "") if command == "learner" else "", ""
    if child_file:
        resolved = resolve_file(config, child_file, flags=flags.values)
    else:
        file, preset = flags.extra.get("config", ""), flags.extra.get("preset", os.environ.get("DPPO_PRESET", ""))
        resolved = resolve(config, flags=flags.values, file=file, preset=preset)
    resolved = dataclasses.replace(resolved, extra=flags.extra, switches=frozenset(flags.switches))
    if "print_config" in flags.switches:
        print(dump_yaml(resolved.config, resolved.sources), end="")
        return None
    text = preset_text(resolved, is_off=bool(child_file) or preset == "none") if has_presets else ""
    return dataclasses.replace(resolved, arguments=tuple(arguments), first_line=text)


def plain(command: str, config: type[Config], arguments: list[str], positional: str = "") -> Config | None:
    """Arguments of a command that has no layers: defaults and flags; None after printing the help."""
    if _wants_help(arguments):
        from dppo.settings.help import show_help

        show_help(config, program=f"dppo {command}")
        return None
    settings = settings_of(config)
    takes_rest = any(field.metadata == REST for field in fields(config))  # type: ignore[arg-type]
    if takes_rest:
        from dppo.settings.commands import TrainConfig

        refuse_settings_of_runs(command, arguments, settings, settings_of(TrainConfig))
    flags = parse_flags(arguments, settings, positional=positional)
    missing = [path for path, setting in settings.items() if setting.required and path not in flags.values]
    if missing:
        if missing[0] in ("run", "runs"):
            from dppo.watch.run_list import no_run_named

            raise no_run_named(command, missing[0])
        name = missing[0] if missing[0] in positional.split() else f"--{missing[0]}"
        raise UsageError(f"{name} is missing: see dppo {command} --help")
    rest: dict[str, Any] = {}
    if flags.rest and not takes_rest:
        raise UsageError(f"unexpected argument {flags.rest[0]} after --")
    if takes_rest:
        from dppo.settings.commands import TrainConfig

        parse_flags(flags.rest, settings_of(TrainConfig), extra=("config", "preset"))  # fail now, not in a run
        rest = {"overrides": tuple(flags.rest)}
    return build(config, flags.values | rest)
