"""Checks of settings that an actor and a relay share. Each raises UsageError that names the setting."""

import msgspec

from dppo.protocol.errors import UsageError
from dppo.protocol.messages import Name


def check_endpoint_setting(setting: str, value: str) -> None:
    """Refuse what is no endpoint; empty is none."""
    if value and not value.startswith(("tcp://", "ipc://")):
        raise UsageError(f"{setting}={value!r} is no endpoint: give for example tcp://host:5555 or ipc://path")


def check_name_setting(name: str) -> None:
    """Refuse a name that the messages cannot carry; empty is made up later."""
    try:
        msgspec.convert(name or "unnamed", Name)
    except msgspec.ValidationError:
        raise UsageError(f"name={name!r} cannot be used: take up to 128 letters, digits and any of . _ : @ -") from None
