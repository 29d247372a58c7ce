"""Command lines of `dppo up`, `ps`, `logs`, `scale` and `down` to their settings."""

from typing import Any

from dppo.deploy.config import ARGUMENTS, UpConfig
from dppo.settings.command_line import layered, plain
from dppo.settings.layers import Resolved

FILES = (".yaml", ".yml")


def up_settings(arguments: list[str]) -> Resolved[UpConfig] | None:
    """Return the settings of `dppo up FILE`; None where only something was to be read, which is printed."""
    return layered("up", UpConfig, _with_config_flag(arguments))


def settings(command: str, arguments: list[str]) -> Any:
    """Return the arguments of one of the other commands; None where only the help was wanted."""
    positional = "run"
    if command == "scale":
        words = [word for word in arguments if not word.startswith("-")]
        positional = "run actors" if len(words) > 1 else "actors"  # `dppo scale 8` where one deployment is up
    return plain(command, ARGUMENTS[command], arguments, positional=positional)


def _with_config_flag(arguments: list[str]) -> list[str]:
    """Return the same with --config before the file's name."""
    for at, word in enumerate(arguments):
        if word.endswith(FILES) and not word.startswith("-") and (at == 0 or arguments[at - 1] != "--config"):
            return [*arguments[:at], "--config", *arguments[at:]]
    return arguments
