"""First line of a command that trains: its environment and its preset, where there is something to tell. Pure."""

from collections.abc import Mapping
from typing import Any

from dppo.settings.fields import values_of
from dppo.settings.layers import DEFAULT, Resolved
from dppo.settings.preset_files import CLASSICS


def no_preset_text(values: Mapping[str, Any]) -> str:
    """Return the first line of a run whose environment has no preset: what it gets instead, and what else there is."""
    return (
        f"no preset for {values['env.id']}: {values['collect.batch_steps']:,} steps x {values['ppo.epochs']} epochs x "
        f"minibatches of {values['ppo.minibatch_steps']}, learning rate {values['ppo.learning_rate']:g} "
        f"{values['ppo.learning_rate_schedule']} (defaults where nothing is set); others: --preset {'|'.join(CLASSICS)}"
    )


def names_no_environment(resolved: Resolved[Any]) -> bool:
    """Return whether the user has named no environment: it is the default, or its preset's."""
    found = "" if resolved.preset_was_asked_for else f"preset {resolved.preset}"  # which names the environment too
    return resolved.sources.get("env.id") in (DEFAULT, found)


def preset_text(resolved: Resolved[Any], *, is_off: bool) -> str:
    """Return the line on the preset that was used, or was not found; "" where none was wanted (is_off).

    Where no environment was named, the line says which one it is.
    """
    if names_no_environment(resolved):
        used = f" and preset {resolved.preset}" if resolved.preset else ""
        return f"no environment was named: {values_of(resolved.config)['env.id']}{used} by default (name one: --env ID)"
    if resolved.preset and not resolved.preset_was_asked_for:
        return f"preset {resolved.preset}, found by the environment's id (--preset none: without)"
    if resolved.preset:
        return f"preset {resolved.preset}"
    return "" if is_off else no_preset_text(values_of(resolved.config))
