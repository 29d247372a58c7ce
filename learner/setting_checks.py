"""Checks of settings, for their dataclasses. Each raises UsageError with the setting's whole name."""

from dppo.protocol.errors import UsageError


def positive(section: str, config: object, *names: str) -> None:
    """Reject values that are not above 0."""
    for name in names:
        if not getattr(config, name) > 0:
            raise UsageError(f"{section}.{name}={getattr(config, name)} must be above 0")


def at_least(section: str, config: object, minimum: float, *names: str) -> None:
    """Reject values below the minimum."""
    for name in names:
        if not getattr(config, name) >= minimum:
            raise UsageError(f"{section}.{name}={getattr(config, name)} must be at least {minimum}")


def at_most(section: str, config: object, maximum: float, *names: str) -> None:
    """Reject values above the maximum."""
    for name in names:
        if not getattr(config, name) <= maximum:
            raise UsageError(f"{section}.{name}={getattr(config, name)} must be at most {maximum:,}")


def ascending(section: str, config: object, *names: str) -> None:
    """Reject values that are not in rising order."""
    values = [getattr(config, name) for name in names]
    for name, before, value in zip(names[1:], values, values[1:], strict=False):
        if not before <= value:
            shown = ", ".join(map(str, values))
            order = " <= ".join(f"{section}.{each}" for each in names)  # in full: it may be any of them that was set
            raise UsageError(f"{section}.{name}: {order} does not hold for {shown}")
