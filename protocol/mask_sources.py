"""Sources of masks by name: the form of `env.action_mask`, checked. Imports nothing; both sides need it."""

from dppo.protocol.errors import UsageError

SOURCES = ("auto", "none", "info", "method")
MAX_SOURCE = 256  # characters


def check_mask_source(setting: str) -> None:
    """Raise UsageError where env.action_mask names no source of masks."""
    if setting in SOURCES or (setting.startswith("observation.") and len(setting) <= MAX_SOURCE):
        return
    raise UsageError(
        f"env.action_mask={setting[:64]!r}: choose {', '.join(SOURCES)}, or a leaf of the observations by its name, as "
        "observation.action_mask"
    )
